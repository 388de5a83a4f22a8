"""A calibration learns from a line's good parts as well, and never from what it missed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.addition import CONFIRMED, MISSED, Addition
from calibration.dataset import open_dataset
from engines.bundle import open_bundle
from engines.image import read_image
from pipeline.journal.labels import LabelBook, VerdictKey
from pipeline.journal.pictures import picture_folder
from pipeline.journal.selection import Selection
from pipeline.journal.stored import StoredPictures
from pipeline.protocol.label import Said
from tests.calibration.test_comparison import PUBLISH, publish
from tests.conftest import RunTaktline
from tests.pipeline.parts import Running

# By sequence; every third part was rejected.
LABELS: dict[int, Said] = {0: "false alarm", 3: "false alarm", 6: "confirmed", 1: "missed defect", 2: "confirmed"}
DEFECTIVE = {1, 6}


@pytest.fixture
def journal(drawn: Path, tmp_path: Path) -> Path:
    """24 verdicts with their pictures, of which five have labels."""
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_images": "all"}) as running:
        verdicts = publish(running, 24, ng_every=3)
    with LabelBook(path) as book:
        for sequence, said in LABELS.items():
            one = verdicts[sequence]
            book.set(VerdictKey(one.camera, one.epoch, one.sequence), said, "anna")
    good, bad = sorted(drawn.glob("train/good/*.png")), sorted(drawn.glob("test/[!g]*/*.png"))
    with StoredPictures(path) as stored:
        for kept in stored.find(Selection()):
            source = bad if kept.sequence in DEFECTIVE else good
            assert cv2.imwrite(str(kept.path), read_image(source[kept.sequence % len(source)]))
    return path


def flat(text: str) -> str:
    return " ".join(text.split())


def test_good_parts_of_a_journal_are_learnt_from_and_defective_ones_checked(
    journal: Path, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    words = (
        "calibrate", drawn, "--out", tmp_path / "new", "--backbone", "untrained", "--size", "64", "--steps", "40",
        "--add-journal", journal, "--unlabelled", 0.25, "--max-false-alarms", 100,
    )  # fmt: skip
    done = taktline_in_process(*words)
    assert done.returncode == 0, done.stderr
    manifest = open_bundle(tmp_path / "new").manifest
    added = manifest.training.added
    assert added is not None
    # Of 24 parts 8 were rejected, of which three have a label, and 14 of the others have none.
    assert (added.journal, added.false_alarms, added.confirmed_good, added.unlabelled) == ("line.journal", 2, 1, 4)
    assert (added.missed_defects, added.confirmed_defects) == (1, 1)
    assert added.found_missed <= 1 and added.found_confirmed <= 1
    assert manifest.training.normals == 30 + 2 + 1 + 4
    said = flat(done.stderr)
    assert "7 of its good parts come from line.journal: 2 false alarms, 1 that a person confirmed, and 4" in said
    assert f"It finds {added.found_missed} of 1 missed defects" in said
    assert "21% of the parts were rejected and have no label" in said
    shutil.rmtree(picture_folder(journal))
    gone = taktline_in_process(*words)
    assert gone.returncode == 2
    assert "the 24 pictures that" in flat(gone.stderr) and "are gone; copy the folder line.journal.pictures" in flat(
        gone.stderr
    )
    refused = taktline_in_process("calibrate", drawn, "--out", tmp_path / "x", "--from", "2025-01-01")
    assert refused.returncode == 2 and "choose pictures of --add-journal" in flat(refused.stderr)


def test_what_was_missed_is_never_learnt_from(drawn: Path, tmp_path: Path) -> None:
    addition = Addition(
        "j", (tmp_path / "alarm",), (tmp_path / "confirmed",), [tmp_path / str(number) for number in range(100)],
        (tmp_path / "missed",), (tmp_path / "found",),
    )  # fmt: skip
    dataset = open_dataset(drawn)
    # Unlabelled ones are at most as many as those that are known to be good.
    few = addition.drawn(len(dataset.train), seed=3)
    assert len(few.unlabelled) == 32 and len(set(few.unlabelled)) == 32
    assert few.unlabelled == addition.drawn(len(dataset.train), seed=3).unlabelled
    assert few.unlabelled != addition.drawn(len(dataset.train), seed=4).unlabelled
    assert len(addition.drawn(1000, seed=3).unlabelled) == 50
    joined = few.join(dataset)
    assert len(joined.train) == 30 + 2 + 32 and not any(sample.defective for sample in joined.train)
    assert not {sample.path for sample in joined.train} & {tmp_path / "missed", tmp_path / "found"}
    assert [(sample.path.name, sample.kind) for sample in joined.test[len(dataset.test) :]] == [
        ("missed", MISSED), ("found", CONFIRMED),
    ]  # fmt: skip


def test_what_a_journal_cannot_support_is_said(drawn: Path, tmp_path: Path) -> None:
    dataset = open_dataset(drawn)
    picture = tmp_path / "part.png"
    assert cv2.imwrite(str(picture), np.zeros((100, 300, 3), np.uint8))
    nobody, nothing, other = Addition("j", unlabelled=(picture,)).warnings(dataset)
    assert "label false alarms first" in nobody
    assert "nothing checks" in nothing
    assert "have 300 x 100 pixels" in other and "another cut of the part" in other
    same = dataset.train[0].path
    assert Addition("j", false_alarms=(same,), missed=(same,)).warnings(dataset) == []


def test_what_it_finds_is_counted_by_the_new_bundle(small_bundle_path: Path, drawn: Path) -> None:
    bundle = open_bundle(small_bundle_path)
    pictures = sorted(drawn.glob("test/*/*.png"))
    addition = Addition("j", missed=pictures[:11], confirmed=pictures[11:])
    for value, found in ((-500.0, (11, 7)), (500.0, (0, 0))):
        threshold = bundle.manifest.threshold.model_copy(update={"value": value})
        moved = type(bundle)(bundle.path, bundle.manifest.model_copy(update={"threshold": threshold}), bundle.sha256)
        added = addition.record(moved)
        assert (added.found_missed, added.found_confirmed) == found
        assert (added.missed_defects, added.confirmed_defects) == (11, 7)
    assert json.loads(added.model_dump_json())["unlabelled"] == 0
