"""Whole days on a virtual clock: one answer a frame, in order, within the takt, exact only where it is.

A day at full rate takes minutes; `python -m tests.simulation.day BUNDLE --full --seed N` plays one.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from engines.bundle import open_bundle
from pipeline.journal.check import JournalCheck
from tests.simulation.day import Day

# Seeds that ever failed stay here, with what they found.
FAILED = {
    0: "a spell of slowness taught the batcher that nothing fits, and it never tried again; and verdicts of scores "
    "that the engine before had computed named the one that had taken over",
    2: "a batch that was handed over with the one before it taught the batcher that a batch takes no time at all",
}
SEEDS = sorted({*FAILED, *range(20)})


@pytest.mark.parametrize("seed", SEEDS)
def test_a_day(small_bundle_path: Path, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    day = Day(open_bundle(small_bundle_path), seed, tmp_path / "journal.db")
    day.run()
    checks = day.checks
    print(f"{checks.reasons.total()} frames: {dict(checks.reasons)}; {checks.exact} exact, {dict(day.happened)}")
    # Otherwise it would prove little.
    assert checks.reasons.total() > 8000
    assert {None, "late", "corrupt", "engine_error", "dropped"} <= set(checks.reasons)
    assert {"clock", "slow", "stand", "break", "threshold", "deploy", "pause"} <= set(day.happened)
    assert min(checks.engines["card"], checks.engines["spare"]) > 100
    assert checks.exact > 1000
    assert checks.calm.total() > 500
    with JournalCheck(tmp_path / "journal.db") as check:
        found = check.run()
    assert found.good, found.faults
    assert found.verdicts == checks.reasons.total()
