"""A line whose process has no memory left for a while answers every frame, says why, and goes on when there is some."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.pipeline.parts import verify

PHASES, FRAMES = ("before", "starved", "after"), 60


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_a_line_without_memory_answers_every_frame_and_goes_on(engine: str, bundle_path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.peers.starved_line", bundle_path, engine, tmp_path / "line.journal"]
    # One heap for all threads: what one has freed is no other's reserve.
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, cwd=ROOT, timeout=120,
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    counts = {phase: Counter(reason for part, _, reason in found["answers"] if part == phase) for phase in PHASES}
    print(counts)
    assert [sequence for _, sequence, _ in found["answers"]] == list(range(3 * FRAMES))
    assert counts["before"] == {"inspected": FRAMES}
    # Each picture that takes 75 MB is one of them. None is taken for a broken picture.
    assert counts["starved"]["engine_error"] >= FRAMES // 2
    assert set(counts["starved"]) <= {"inspected", "engine_error"}
    assert any("the machine has no memory left for pictures" in why for why in found["said"])
    assert "no memory left" in done.stderr
    # An engine that failed has to be opened again.
    assert {reason for _, _, reason in found["answers"][-FRAMES // 2 :]} == {"inspected"}
    assert found["ready"]
    assert not found["hung"]
    assert "Traceback" not in done.stderr
    journal = verify(tmp_path / "line.journal")
    assert journal.good, journal.faults
    assert journal.verdicts == 3 * FRAMES
