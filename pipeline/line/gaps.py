"""When the next frame is to be expected, from how frames came so far."""

from __future__ import annotations

from collections import deque

_REMEMBERED = 8
_NEVER = 2**63 - 1


class Gaps:
    """Notes when each camera's frames were captured; times in monotonic nanoseconds. One thread at a time."""

    def __init__(self) -> None:
        self._times: dict[str, deque[int]] = {}
        self._first: int | None = None
        self._last = self._count = 0

    def note(self, camera: str, captured: int) -> None:
        """Notes a frame."""
        self._times.setdefault(camera, deque(maxlen=_REMEMBERED + 1)).append(captured)
        self._first = captured if self._first is None else self._first
        self._last, self._count = max(self._last, captured), self._count + 1

    def next_expected(self, now: int) -> int:
        """Returns the earliest moment at which the next frame is to be expected; `now` if it may come at any.

        A camera is expected after the shortest of its last pauses. One that is silent for twice its longest pause has
        stopped, and is not expected at all.
        """
        return min((_expected(times, now) for times in self._times.values()), default=now)

    @property
    def period_ns(self) -> int | None:
        """Mean time from one frame to the next, of all cameras together; None before the second."""
        if self._first is None or self._count < 2:
            return None
        return (self._last - self._first) // (self._count - 1)


def _expected(times: deque[int], now: int) -> int:
    if len(times) < 2:
        return now
    pauses = [later - earlier for earlier, later in zip(times, list(times)[1:], strict=False)]
    if now - times[-1] > 2 * max(pauses):
        return _NEVER
    return max(now, times[-1] + min(pauses))
