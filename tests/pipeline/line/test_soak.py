"""Everything at once, for minutes: dying, frozen and flooding cameras, broken pictures, a failing engine, swaps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

# What is thrown at every line, however short the run; a GigE camera dies too where one can be simulated.
EVERY_FAULT = {
    "camera_dies", "camera_freezes", "pictures_corrupt", "overload", "engine_fails", "bundle_swapped",
    "subscriber_stops",
}  # fmt: skip


@pytest.mark.soak
@pytest.mark.long(80)
@pytest.mark.timeout(0)
@pytest.mark.usefixtures("gige_port")
def test_a_line_outlives_every_fault(
    bundle_path: Path, drawn: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    minutes, seed = request.config.getoption("--soak-minutes"), request.config.getoption("--soak-seed")
    options = [f"--minutes={minutes}", f"--seed={seed}"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.line.soak", bundle_path, drawn, tmp_path, *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60 * minutes + 600,
    )
    print(done.stderr[-20_000:])
    assert done.returncode == 0
    found = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found, indent=1))
    assert found["ended"]
    assert found["answered"] == found["delivered"]
    assert found["in_order"]
    assert sum(found["by_reason"].values()) == sum(found["delivered"].values())
    assert min(found["delivered"].values()) > 0
    assert {"inspected", "dropped", "corrupt", "engine_error"} <= set(found["by_reason"])
    start, end = found["memory"]
    # An engine that has just been exchanged differs by some megabytes; a leak grows with the minutes.
    assert end < start + 20 * 2**20
    assert found["after"] == found["before"]
    assert found["watched"] > 0
    assert set(found["thrown"]) >= EVERY_FAULT
