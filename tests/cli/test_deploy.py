"""`taktline deploy` with a shadow run before it: what is shown, what Ctrl-C does, and when it switches."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from engines.bundle import Bundle, open_bundle, update_manifest
from engines.engine import EXACT
from engines.image import read_image, resize_frame
from engines.registry import open_engine
from pipeline.journal.audit import AuditTrail
from pipeline.journal.labels import LabelBook, VerdictKey
from pipeline.journal.selection import Selection
from pipeline.journal.stored import StoredPictures
from pipeline.protocol.label import Said
from tests.calibration.test_comparison import PUBLISH, publish
from tests.conftest import RunTaktline
from tests.paths import ROOT
from tests.pipeline import parts
from tests.pipeline.line.test_shadow import begun, changed, line_of, tell, wait

# A candidate computes only where nothing else does, so other tests beside it would starve it.
pytestmark = pytest.mark.serial


@pytest.fixture
def strict(small_bundle_path: Path, tmp_path: Path) -> Bundle:
    """A bundle that rejects every part."""
    return changed(small_bundle_path, tmp_path / "strict", -500)


@pytest.fixture
def pictures(drawn: Path) -> list[Path]:
    return [*sorted(drawn.glob("train/good/*.png")), *sorted(drawn.glob("test/*/*.png"))]


@pytest.fixture
def scores(small_bundle_path: Path, pictures: list[Path]) -> list[float]:
    bundle = open_bundle(small_bundle_path)
    with open_engine(bundle, "openvino", EXACT, 1) as engine:
        return [float(engine.infer(resize_frame(read_image(path), bundle.size)[None]).score[0]) for path in pictures]


@pytest.fixture
def right(small_bundle_path: Path, scores: list[float], tmp_path: Path) -> Bundle:
    """A bundle that rejects the higher half."""
    return changed(small_bundle_path, tmp_path / "right", sorted(scores)[len(scores) // 2])


@pytest.fixture
def journal(right: Bundle, pictures: list[Path], scores: list[float], tmp_path: Path) -> Path:
    """All parts were rejected, and a person says that `right` would have been right, which is so by construction."""
    path = tmp_path / "line.journal"
    with parts.Running(PUBLISH, {"path": path, "keep_images": "all"}) as running:
        verdicts = publish(running, len(pictures), ng_every=1)
    with LabelBook(path) as book:
        for one, score in zip(verdicts, scores, strict=True):
            said: Said = "confirmed" if score > right.manifest.threshold.value else "false alarm"
            book.set(VerdictKey(one.camera, one.epoch, one.sequence), said, "anna")
    with StoredPictures(path) as stored:
        for kept in stored.find(Selection()):
            # Lossless, whatever its name says: the scores must be those that the labels were made by.
            kept.path.write_bytes(cv2.imencode(".png", read_image(pictures[kept.sequence]))[1].tobytes())
    return path


def flat(text: str) -> str:
    return " ".join(text.split())


def outcomes(journal: Path) -> list[str]:
    with AuditTrail(journal) as audit:
        return [record.outcome for record in audit.newest() if (record.order, record.by) == ("deploy", "anna")]


def test_a_shadow_run_is_shown_and_changes_nothing(
    right: Bundle, strict: Bundle, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    page = tmp_path / "page.html"
    with line_of(right.path, drawn) as running:
        words = ("deploy", strict.path, "--line", running.address, "--shadow", 10)
        done = taktline_in_process(*words, "--json", "--report", page)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        (one,) = found["comparisons"]
        assert found["deployed"] is False
        assert (one["old"]["bundle"], one["new"]["bundle"]) == (right.short_id, strict.short_id)
        assert (one["pictures"], one["new"]["rejected"]) == (10, 10)
        assert one["new"]["cost_ms"] > 0 and abs(one["score_shift"]) < 0.01
        differing = 10 - one["old"]["rejected"]
        assert len(one["differing"]) == differing
        text = page.read_text()
        assert text.count("data:image/jpeg") == 2 * differing and "10 parts as they came" in text
        shown = taktline_in_process(*words)
        assert "10 parts as they came, judged beside the running bundle" in flat(shown.stdout)
        assert {verdict.bundle for verdict in running.verdicts} == {right.short_id}
        status = taktline_in_process("tell", running.address, "status")
        assert "10 of 10 parts judged" in flat(status.stdout)
        for wrong, why in (
            (("--other-part",), "cannot be compared with the running one"),
            (("--if-better",), "--shadow 10 is too few to tell"),
        ):
            refused = taktline_in_process(*words, *wrong)
            assert refused.returncode == 2 and why in flat(refused.stderr)
        refused = taktline_in_process(*words[:-2], "--report", page)
        assert refused.returncode == 2 and "nothing to report without --shadow or --if-better" in flat(refused.stderr)
        for option in (("--journal", page), ("--camera", "a"), ("--miss-costs", 5)):
            refused = taktline_in_process(*words, *option)
            assert refused.returncode == 2 and "belong to --if-better; give that too" in flat(refused.stderr)


def test_ctrl_c_ends_the_shadow_run_and_leaves_the_line(right: Bundle, strict: Bundle, drawn: Path) -> None:
    with line_of(right.path, drawn) as running:
        command = [sys.executable, "-m", "taktline", "deploy", str(strict.path), "--line", running.address]
        with subprocess.Popen(
            [*command, "--shadow", "10000"], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                wait(running, lambda found: found is not None and begun(found))
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=30)
            finally:
                process.kill()
        assert process.returncode == 130, err
        assert "Traceback" not in err and not out
        shadow: dict[str, Any] = tell(running, do="status")["status"]["shadow"]
        assert (shadow["state"], shadow["reason"]) == ("ended", "it was cancelled")
        running.more()
        assert {verdict.bundle for verdict in running.verdicts} == {right.short_id}


def test_one_that_is_better_is_deployed_and_one_that_is_worse_is_not(
    right: Bundle, strict: Bundle, drawn: Path, journal: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    page = tmp_path / "page.html"
    with line_of(strict.path, drawn, fps=60) as running:
        words = (
            "--line",
            running.address,
            "--shadow",
            100,
            "--if-better",
            "--journal",
            journal,
            "--by",
            "anna",
            "--json",
        )
        done = taktline_in_process("deploy", right.path, *words, "--report", page)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["deployed"] and found["answer"]["differences"]["only_old_good"] == 25
        assert "25 false alarms and 0 misses are gone" in found["answer"]["reason"]
        beside, labelled = found["comparisons"]
        assert (beside["pictures"], labelled["pictures"]) == (100, 48)
        assert (labelled["old"]["false_alarms"], labelled["new"]["false_alarms"]) == (25, 0)
        assert f"The line runs {right.short_id} now." in page.read_text()
        assert {verdict.bundle for verdict in running.more()} == {right.short_id}
        # And back again it does not go.
        refused = taktline_in_process("deploy", strict.path, *words)
        assert refused.returncode == 1, refused.stderr
        found = json.loads(refused.stdout)
        assert not found["deployed"] and "raises more false alarms" in found["answer"]["reason"]
        assert {verdict.bundle for verdict in running.more()} == {right.short_id}
    last, first = outcomes(journal)
    assert first.startswith("done: On 25 good") and last.startswith("not done: On 25 good")


def test_without_a_shadow_run_labels_must_speak_for_accepted_parts(
    right: Bundle, strict: Bundle, drawn: Path, journal: Path, small_bundle_path: Path, tmp_path: Path,
    taktline_in_process: RunTaktline,
) -> None:  # fmt: skip
    with line_of(strict.path, drawn) as running:
        words = ("--line", running.address, "--if-better", "--journal", journal, "--by", "anna")
        done = taktline_in_process("deploy", right.path, *words)
        assert done.returncode == 1, done.stderr
        assert "The line was not switched. Only 0 parts as they come were judged by both" in flat(done.stdout)
        # A bundle that was calibrated for a price of misses says so.
        priced = changed(small_bundle_path, tmp_path / "priced", 0)
        threshold = right.manifest.threshold.model_dump() | {"rule": "cost", "parameter": 7.0}
        update_manifest(priced, {"threshold": threshold})
        done = taktline_in_process("deploy", priced.path, *words, "--json")
        assert done.returncode == 1, done.stderr
        assert json.loads(done.stdout)["answer"]["miss_costs"] == 7.0
        refused = taktline_in_process("deploy", right.path, *words, "--to", "2020-01-01")
        assert refused.returncode == 2 and "keeps no such pictures" in flat(refused.stderr)
        refused = taktline_in_process("deploy", right.path, "--line", running.address, "--if-better")
        assert refused.returncode == 2 and "the line has no journal" in flat(refused.stderr)
        assert {verdict.bundle for verdict in running.more()} == {strict.short_id}
    assert outcomes(journal)[0].startswith(str(journal))
