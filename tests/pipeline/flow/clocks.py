"""Clocks that tests move by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable


class HandClock:
    """A clock that stands still until it is moved; it waits for nothing but its predicate."""

    def __init__(self) -> None:
        self.now = 0
        self.wall = 0

    def monotonic_ns(self) -> int:
        return self.now

    def wall_ns(self) -> int:
        return self.wall

    def wait_for(
        self, changed: threading.Condition, predicate: Callable[[], object], timeout_s: float | None = None
    ) -> bool:
        return bool(changed.wait_for(predicate, timeout_s))

    def pass_s(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)
