"""Closes the parts of something in reverse order under one deadline, even if some fail or hang."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from engines.closing import Closing

log = logging.getLogger(__name__)

CLOSE_S = 10.0
_LEAST_S = 0.1


class Countdown:
    """Counts down to a deadline.

    Args:
        seconds: from now; None for the default of ten.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._until = time.monotonic() + (CLOSE_S if seconds is None else seconds)

    def left(self, reserve: float = 0.0) -> float:
        """Returns the seconds that are left, minus a reserve; never below 0."""
        return max(0.0, self._until - reserve - time.monotonic())


class ClosingStack(Closing):
    """Remembers how to close each part, and closes the last one first.

    Each part is closed on a daemon thread, so that one that hangs in a foreign library or on a dead disk stops neither
    the other parts nor the process from ending. A part whose `close` raises `TimeoutError` counts as hanging too.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[str, Callable[[], object]]] = []
        self._closing = threading.Lock()

    def add(self, name: str, close: Callable[[], object]) -> None:
        """Adds a part, which is closed before all earlier ones."""
        self._parts.append((name, close))

    def release(self) -> None:
        """Forgets the parts: someone else will close them."""
        self._parts.clear()

    def close(self, deadline: float | None = None) -> None:
        """Closes every part; errors and parts that hang are logged. Closing twice is safe."""
        self.close_within(deadline)

    def close_within(self, deadline: float | None = None) -> tuple[str, ...]:
        """Closes every part.

        Args:
            deadline: seconds in which to close all of them; None for ten. While others wait, a part gets at most half
                of what is left; every part gets at least a tenth of a second.

        Returns:
            The names of the hanging parts, which were left behind.
        """
        countdown = Countdown(deadline)
        hung = []
        with self._closing:
            while self._parts:
                name, close = self._parts.pop()
                # A hanging part must leave time for the others.
                share = countdown.left() / (2 if self._parts else 1)
                if not _closed(name, close, max(_LEAST_S, share)):
                    log.error("%s hangs while closing; it is left behind", name)
                    hung.append(name)
        return tuple(hung)


def _closed(name: str, close: Callable[[], object], seconds: float) -> bool:
    """Closes a part on its own thread and returns whether that ended in time, in success or failure."""
    late = threading.Event()

    def run() -> None:
        try:
            close()
        except TimeoutError:
            late.set()
        except Exception:
            # The other parts must still be closed.
            log.exception("%s failed while closing", name)

    thread = threading.Thread(target=run, name=f"close {name}", daemon=True)
    thread.start()
    thread.join(seconds)
    return not (thread.is_alive() or late.is_set())
