"""Whole days on a virtual clock: one answer a frame, in order, within the takt, exact only where it is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from engines.bundle import open_bundle
from pipeline.journal.check import JournalCheck
from tests.simulation.day import Day

# Seeds that ever failed stay here, with what they found.
FAILED = {
    0: "a spell of slowness taught the batcher that nothing fits, and it never tried again",
}
SEEDS = (*FAILED, 1, 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_day(small_bundle_path: Path, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    day = Day(open_bundle(small_bundle_path), seed, tmp_path / "journal.db")
    day.run()
    print(f"{day.reasons.total()} frames: {dict(day.reasons)}; {day.exact} exact, {day.changes} changes")
    # Otherwise it would prove little.
    assert day.reasons.total() > 10_000
    assert {None, "late", "corrupt", "engine_error"} <= set(day.reasons)
    assert 0 < day.exact < day.reasons[None]
    with JournalCheck(tmp_path / "journal.db") as check:
        found = check.run()
    assert found.good, found.faults
    assert found.verdicts == day.reasons.total()
