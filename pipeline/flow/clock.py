"""The line's clock: everything gets it as an argument, so that a test or simulation can supply its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits for it to pass.

    Latencies, deadlines and the order of frames come from the monotonic time alone. The wall clock only dates frames,
    because NTP or daylight saving may change it at any moment.
    """

    def monotonic_ns(self) -> int:
        """Returns nanoseconds that only ever grow."""

    def wall_ns(self) -> int:
        """Returns nanoseconds since 1970 (UTC)."""

    def wait_for(
        self, changed: threading.Condition, predicate: Callable[[], object], timeout_s: float | None = None
    ) -> bool:
        """Waits until a predicate holds, and returns whether it does.

        Args:
            changed: held by the caller, released while waiting, and notified whenever the predicate may have changed.
            predicate: has no side effects; it is called while `changed` is held.
            timeout_s: seconds after which to return anyway; None to wait forever.
        """


class SystemClock:
    """The machine's clocks."""

    def monotonic_ns(self) -> int:
        """Returns nanoseconds that only ever grow."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Returns nanoseconds since 1970 (UTC)."""
        return time.time_ns()

    def wait_for(
        self, changed: threading.Condition, predicate: Callable[[], object], timeout_s: float | None = None
    ) -> bool:
        """Waits until a predicate holds; see `Clock.wait_for`."""
        return bool(changed.wait_for(predicate, timeout_s))


SYSTEM_CLOCK = SystemClock()
