"""Schedules are what they say, before anything runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.load.schedule import make_schedule, read_schedule
from engines.errors import ConfigError, DataError


def test_constant_arrivals_are_a_period_apart_and_cameras_share_the_rate() -> None:
    schedule = make_schedule("constant", 10, 2, cameras=2)
    assert schedule.moments.tolist() == [number * 100_000_000 for number in range(20)]
    assert schedule.cameras.tolist() == [0, 1] * 10
    assert schedule.seconds == pytest.approx(1.9)


def test_poisson_arrivals_have_the_rate_and_no_memory() -> None:
    schedule = make_schedule("poisson", 100, 100, cameras=3, seed=1)
    assert len(schedule) == pytest.approx(10_000, rel=0.05)
    gaps = np.diff(schedule.moments) / 1e9
    assert gaps.min() >= 0
    # An exponential distribution's standard deviation is its mean.
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert np.bincount(schedule.cameras) == pytest.approx([3333] * 3, rel=0.1)
    again = make_schedule("poisson", 100, 100, cameras=3, seed=1)
    assert (again.moments == schedule.moments).all()
    assert (make_schedule("poisson", 100, 100, seed=2).moments[:9] != schedule.moments[:9]).any()


def test_bursts_come_at_once_and_keep_the_rate() -> None:
    schedule = make_schedule("bursts", 20, 4, burst=5)
    moments, counts = np.unique(schedule.moments, return_counts=True)
    assert counts.tolist() == [5] * 16
    assert np.diff(moments).tolist() == [250_000_000] * 15


def test_a_recorded_schedule_is_read(tmp_path: Path) -> None:
    path = tmp_path / "recorded.csv"
    path.write_text("# seconds,camera\n12.5,1\n12.0\n13.25,0\n")
    schedule = read_schedule(path)
    assert schedule.moments.tolist() == [0, 500_000_000, 1_250_000_000]
    assert schedule.cameras.tolist() == [0, 1, 0]
    assert schedule.count == 2


@pytest.mark.parametrize("text", ["", "soon\n", "1.0,top\n", "nan\n", "1.0,-1\n", "1,64\n"])
def test_what_is_no_schedule_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recorded.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="is not a schedule"):
        read_schedule(path)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for rate, seconds, cameras in ((0.0, 1.0, 1), (1.0, 0.0, 1), (float("inf"), 1.0, 1), (1.0, 1.0, 0)):
        with pytest.raises(ConfigError, match="above 0"):
            make_schedule("constant", rate, seconds, cameras)
    for rate, seconds, burst in ((1e12, 1.0, 1), (1.0, 1e300, 1), (1.0, 1.0, 10**20)):
        with pytest.raises(ConfigError, match="at most 10000000 frames"):
            make_schedule("bursts", rate, seconds, 1, burst)
    with pytest.raises(DataError, match="cannot be read"):
        read_schedule(tmp_path / "none")
