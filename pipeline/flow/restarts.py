"""Limits restarts per hour rather than per lifetime."""

from __future__ import annotations

from collections import deque

from pipeline.flow.clock import SYSTEM_CLOCK, Clock

_HOUR_S = 3600.0


class RestartBudget:
    """Allows a number of restarts within any window of time; a restart becomes available again after the window.

    Args:
        most: restarts allowed within a window.
        window_s: length of the window, in seconds.
        clock: tells the time.
    """

    def __init__(self, most: int, window_s: float = _HOUR_S, clock: Clock = SYSTEM_CLOCK) -> None:
        self._most, self._window_ns, self._clock = most, round(window_s * 1e9), clock
        self._spent: deque[int] = deque()

    def spend(self) -> bool:
        """Uses one restart and returns whether one was left."""
        now = self._clock.monotonic_ns()
        while self._spent and now - self._spent[0] >= self._window_ns:
            self._spent.popleft()
        if len(self._spent) >= self._most:
            return False
        self._spent.append(now)
        return True
