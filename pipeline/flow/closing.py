"""Closes what something is made of: in reverse order, under one deadline, whatever fails or hangs on the way."""

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
        seconds: from now; None for the usual ten.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._until = time.monotonic() + (CLOSE_S if seconds is None else seconds)

    def left(self, reserve: float = 0.0) -> float:
        """Returns the seconds that are left, but for a reserve; never below 0."""
        return max(0.0, self._until - reserve - time.monotonic())


class ClosingStack(Closing):
    """Remembers how each part is closed, and closes the last one first.

    A part that raises `TimeoutError` when it is closed has found out itself that it hangs.

    Each part is closed in a daemon thread, so that one that hangs in a foreign library or on a dead disk keeps neither
    the others nor the process from ending.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[str, Callable[[], object]]] = []
        self._closing = threading.Lock()

    def add(self, name: str, close: Callable[[], object]) -> None:
        """Adds a part, which is closed before those that were added earlier."""
        self._parts.append((name, close))

    def release(self) -> None:
        """Forgets the parts: somebody else closes them from now on."""
        self._parts.clear()

    def close(self, deadline: float | None = None) -> None:
        """Closes every part; errors and parts that hang are logged. Closing twice is safe."""
        self.close_within(deadline)

    def close_within(self, deadline: float | None = None) -> tuple[str, ...]:
        """Closes every part.

        Args:
            deadline: seconds in which all of them should be closed; None for ten. No part gets more than half of what
                is left while others wait, and none less than a tenth of a second.

        Returns:
            The names of the parts that hang and were left behind.
        """
        countdown = Countdown(deadline)
        hung = []
        with self._closing:
            while self._parts:
                name, close = self._parts.pop()
                # One that hangs must leave time for those after it.
                share = countdown.left() / (2 if self._parts else 1)
                if not _closed(name, close, max(_LEAST_S, share)):
                    log.error("%s hangs while it is closed; it is left behind", name)
                    hung.append(name)
        return tuple(hung)


def _closed(name: str, close: Callable[[], object], seconds: float) -> bool:
    """Closes a part on a thread of its own and returns whether that ended in time, well or not."""
    late = threading.Event()

    def run() -> None:
        try:
            close()
        except TimeoutError:
            late.set()
        except Exception:
            # The other parts must be closed all the same.
            log.exception("%s failed while it was closed", name)

    thread = threading.Thread(target=run, name=f"close {name}", daemon=True)
    thread.start()
    thread.join(seconds)
    return not (thread.is_alive() or late.is_set())
