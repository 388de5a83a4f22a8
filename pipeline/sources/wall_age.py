"""Finds the age of a picture stamped by the wall clock, which may have been changed since."""

from __future__ import annotations

from pipeline.flow.clock import SYSTEM_CLOCK, Clock

_STEP_NS = 100_000_000


class WallAge:
    """Turns time stamps of the wall clock into ages.

    A stamp from before the clock was changed is useless: such a picture counts as taken now, so that its latency and
    deadline are correct to within the time it waited.

    Args:
        clock: tells the time.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._set_at = clock.monotonic_ns()
        self._offset = clock.wall_ns() - self._set_at

    def of(self, stamp: int) -> int:
        """Returns the age of a picture in nanoseconds.

        Args:
            stamp: when it was taken, nanoseconds since 1970 (UTC).
        """
        wall, now = self._clock.wall_ns(), self._clock.monotonic_ns()
        # Drift is followed; only a step means that the clock was changed.
        if abs(wall - now - self._offset) > _STEP_NS:
            self._set_at = now
        self._offset = wall - now
        age = wall - stamp
        return age if 0 <= age <= now - self._set_at else 0
