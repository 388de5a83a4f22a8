"""The age of pictures that are stamped by the wall clock, while that clock is set."""

from __future__ import annotations

from pipeline.sources.wall_age import WallAge
from tests.pipeline.flow.clocks import HandClock

SECOND = 1_000_000_000


def test_only_a_stamp_from_before_a_step_is_not_believed() -> None:
    clock = HandClock()
    clock.wall = 1_700_000_000 * SECOND
    ages = WallAge(clock)

    def pass_s(seconds: float) -> None:
        clock.pass_s(seconds)
        clock.wall += round(seconds * SECOND)

    pass_s(10)
    assert ages.of(clock.wall - SECOND // 50) == SECOND // 50
    for step in (3600, -7200):
        stamp = clock.wall
        pass_s(0.02)
        clock.wall += step * SECOND
        # Stamped before the step, as is the next one in the queue.
        assert ages.of(stamp) == 0
        pass_s(0.001)
        assert ages.of(stamp) == 0
        stamp = clock.wall
        pass_s(0.03)
        assert ages.of(stamp) == 3 * SECOND // 100


def test_a_drifting_clock_is_followed() -> None:
    clock = HandClock()
    ages = WallAge(clock)
    for _ in range(1000):
        clock.pass_s(10)
        clock.wall += 10 * SECOND + 5_000_000
        assert ages.of(clock.wall - 1_000_000) == 1_000_000
