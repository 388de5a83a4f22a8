"""Two bundles over the same stored pictures: every verdict that differs is listed, and who is right."""

from __future__ import annotations

import itertools
import json
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.comparison import Candidate, Comparison, Judged, Tally, compare_bundles
from engines.bundle import Bundle, open_bundle, update_manifest
from engines.errors import DataError
from engines.image import read_image
from pipeline.journal.labels import LabelBook, VerdictKey
from pipeline.journal.selection import Selection
from pipeline.journal.stored import StoredPictures
from pipeline.protocol.verdict import Verdict
from tests.conftest import RunTaktline
from tests.pipeline.parts import PICTURE, Running, until

PUBLISH = {"verdicts": "tcp://127.0.0.1:*"}


def with_threshold(bundle: Bundle, path: Path, value: float) -> Bundle:
    """A copy of a bundle with another threshold."""
    copy = open_bundle(Path(shutil.copytree(bundle.path, path)))
    return update_manifest(copy, {"threshold": copy.manifest.threshold.model_dump() | {"value": value}})


@pytest.fixture
def pair(small_bundle_path: Path, tmp_path: Path) -> tuple[Bundle, Bundle]:
    """A bundle that rejects every part, and one that rejects none."""
    bundle = open_bundle(small_bundle_path)
    return with_threshold(bundle, tmp_path / "strict", -500), with_threshold(bundle, tmp_path / "loose", 500)


def test_every_verdict_that_differs_is_listed_with_who_is_right(
    pair: tuple[Bundle, Bundle], drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    """On a data set with its labels, with a page that shows the pictures."""
    page = tmp_path / "page.html"
    words = ("compare", pair[0].path, pair[1].path, drawn)
    done = taktline_in_process(*words, "--json", "--report", page)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["pictures"], found["good"], found["defective"]) == (18, 8, 10)
    costs = found["old"].pop("cost_ms"), found["new"].pop("cost_ms")
    assert min(costs) > 0 and found["score_shift"] == 0
    assert found["old"] == {"bundle": pair[0].sha256, "rejected": 18, "false_alarms": 8, "misses": 0}
    assert found["new"] == {"bundle": pair[1].sha256, "rejected": 0, "false_alarms": 0, "misses": 10}
    assert len(found["differing"]) == 18
    one = found["differing"][0]
    assert (one["old"], one["new"]) == ("ng", "ok")
    assert one["old_score"] == one["new_score"]
    text = page.read_text()
    assert text.count("<figure>") == 18
    assert text.count("data:image/jpeg") == 36
    assert "Only the old bundle rejects: 18" in text
    shown = taktline_in_process(*words)
    assert "18 verdicts differ" in shown.stdout


def test_verdicts_that_agree_are_not_listed(
    small_bundle_path: Path, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    bundle = open_bundle(small_bundle_path)
    same = with_threshold(bundle, tmp_path / "same", bundle.manifest.threshold.value + 1e-9)
    done = taktline_in_process("compare", small_bundle_path, same.path, drawn / "test" / "good", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["pictures"], found["good"], found["differing"]) == (8, 0, [])
    done = taktline_in_process("compare", small_bundle_path, small_bundle_path, drawn)
    assert "are the same bundle" in " ".join(done.stderr.split())


def test_only_what_somebody_has_said_counts_as_a_mistake(tmp_path: Path) -> None:
    parts = [Candidate(str(truth), tmp_path, truth) for truth in (True, False, None)]
    judged = tuple(Judged(part, (3.0, 1.0), (True, False)) for part in parts)
    comparison = Comparison("flange", ("0", "1"), judged)
    assert comparison.score_shift == -2
    assert comparison.tally(0) == Tally(3, 1, 0)
    assert comparison.tally(1) == Tally(0, 0, 1)
    assert (comparison.good, comparison.defective) == (1, 1)


def test_without_pictures_there_is_nothing_to_compare(pair: tuple[Bundle, Bundle]) -> None:
    with pytest.raises(DataError, match="no pictures to compare"):
        compare_bundles(*pair, [])


def _has_kept(running: Running, count: int) -> bool:
    return bool(running.status()["pictures"]["kept"] == count)


def publish(running: Running, count: int, ng_every: int = 10) -> list[Verdict]:
    """Publishes verdicts no faster than their pictures are kept."""
    verdicts: list[Verdict] = []
    for _ in range(count):
        verdicts += running.publish(1, ng_every=ng_every, captured_at=1_740_787_200 * 10**9)
        until(partial(_has_kept, running, len(verdicts)))
    return verdicts


@pytest.fixture
def journal(drawn: Path, tmp_path: Path) -> Path:
    """Thirty verdicts with their pictures, which are replaced by those of good parts; every tenth is ng."""
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_images": "all"}) as running:
        verdicts = publish(running, 30)
    with LabelBook(path) as book:
        for sequence, label in ((0, "false alarm"), (10, "confirmed"), (1, "missed defect"), (2, "confirmed")):
            one = verdicts[sequence]
            book.set(VerdictKey(one.camera, one.epoch, one.sequence), label, "anna")  # type: ignore[arg-type]
    pictures = sorted((drawn / "train" / "good").glob("*.png"))
    for stored in StoredPictures(path).find(Selection()):
        assert cv2.imwrite(str(stored.path), read_image(pictures[stored.sequence]))
    return path


def test_a_journal_says_which_parts_are_taken_for_good(journal: Path) -> None:
    with StoredPictures(journal) as stored:
        found = {one.sequence: one for one in stored.find(Selection())}
        assert stored.unsure_share(Selection()) == pytest.approx(1 / 30)
        assert [one.verdict for one in stored.find(Selection(verdicts=("ng",)))] == ["ng"] * 3
        with pytest.raises(DataError, match="by camera, time and verdict only"):
            stored.find(Selection(part="x"))
    assert len(found) == 30
    truths = {sequence: one.truth for sequence, one in found.items() if one.truth is not None}
    assert truths == {0: "good", 10: "defective", 1: "defective", 2: "good"}
    assert {sequence for sequence, one in found.items() if not one.taken_for_good} == {1, 10, 20}


def test_what_lies_outside_the_folder_of_pictures_is_not_read(journal: Path) -> None:
    with StoredPictures(journal) as stored:
        first, second, *rest = stored.find(Selection())
        first.path.unlink()
        second.path.unlink()
        second.path.symlink_to("/etc/hostname")
        assert stored.find(Selection()) == rest


def test_adapt_and_compare_take_the_pictures_of_a_journal(
    journal: Path, small_bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    new = tmp_path / "new"
    done = taktline_in_process("adapt", small_bundle_path, "--journal", journal, "--out", new, "--json")
    assert done.returncode == 0, done.stderr
    adapted = json.loads(done.stdout)["adapted"]
    assert adapted["samples"] + len(adapted["left_out"]) == 27
    done = taktline_in_process("compare", small_bundle_path, new, "--journal", journal, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["pictures"], found["good"], found["defective"]) == (30, 2, 2)
    done = taktline_in_process("adapt", small_bundle_path, "--journal", journal, "--from", "2025-03-02", "--out", new)
    assert "keeps no such pictures; set keep_images" in " ".join(done.stderr.split())


def test_a_journal_of_rejected_parts_that_nobody_labelled_is_warned_of(
    drawn: Path, small_bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_images": "all"}) as running:
        publish(running, 30, ng_every=3)
    with StoredPictures(path) as stored:
        kept = [one.path for one in stored.find(Selection())]
    adapt = ("adapt", small_bundle_path, "--journal", path, "--out")
    for picture in kept:
        assert cv2.imwrite(str(picture), np.tile(PICTURE, (4, 4, 1)))
    still = taktline_in_process(*adapt, tmp_path / "still")
    assert still.returncode == 2 and "the pictures all show the same" in " ".join(still.stderr.split())
    assert not (tmp_path / "still").exists()
    for picture, part in zip(kept, itertools.cycle(sorted(drawn.glob("train/good/*"))), strict=False):
        assert cv2.imwrite(str(picture), read_image(part))
    done = taktline_in_process(*adapt, tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert "of the parts were rejected and have no label" in " ".join(done.stderr.split())
