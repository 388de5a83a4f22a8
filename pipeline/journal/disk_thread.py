"""One thread does everything that touches the disk, so that a hanging disk delays no other thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from engines.closing import Closing
from pipeline.flow.closing import CLOSE_S

_IDLE_S = 0.5


class Errand:
    """Something to do on the disk.

    Args:
        work: does it; called with the errand.
        too_late: called if the work succeeds after its caller gave up waiting.
    """

    def __init__(self, work: Callable[[Errand], None], too_late: Callable[[], None]) -> None:
        self._work, self._too_late = work, too_late
        self._changed = threading.Condition()
        self._done = self._abandoned = False
        self._error: Exception | None = None

    @property
    def abandoned(self) -> bool:
        """Whether its caller gave up waiting."""
        return self._abandoned

    def run(self) -> bool:
        """Does the work, and returns whether its caller still waited for it."""
        try:
            self._work(self)
        except Exception as error:  # noqa: BLE001 - raised again by `wait`
            self._error = error
        with self._changed:
            self._done = True
            self._changed.notify()
            if not self._abandoned:
                return True
        if self._error is None:
            self._too_late()
        return False

    def wait(self, seconds: float) -> None:
        """Waits until it is done, but not longer than some seconds.

        Raises:
            TimeoutError: it took longer. It may still be done later.
            Exception: what the work raised.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._done, seconds):
                self._abandoned = True
                raise TimeoutError(f"the disk has not answered for {seconds:.3g} s")
        if self._error is not None:
            raise self._error


class DiskThread(Closing):
    """Runs errands one after the other.

    Args:
        idle: called every half second while there is no errand, and once at the end.
    """

    def __init__(self, idle: Callable[[], None]) -> None:
        self._idle = idle
        self._errand: Errand | None = None
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[Errand], None], seconds: float, too_late: Callable[[], None] = lambda: None) -> None:
        """Runs an errand and waits for it, but not longer than some seconds; see `Errand`.

        Raises:
            TimeoutError: it took longer; the errand is marked as abandoned.
            Exception: what the work raised.
        """
        errand, until = Errand(work, too_late), time.monotonic() + seconds
        with self._changed:
            # The thread takes the errand once it has done the previous one, which may hang.
            if not self._changed.wait_for(lambda: self._errand is None, seconds):
                raise TimeoutError(f"the disk has not answered for {seconds:.3g} s")
            self._errand = errand
            self._changed.notify_all()
        errand.wait(max(0.0, until - time.monotonic()))

    def wake(self) -> None:
        """Makes the thread call `idle` at once."""
        with self._changed:
            self._changed.notify_all()

    def close(self, deadline: float | None = None) -> None:
        """Ends the thread.

        Raises:
            TimeoutError: the disk hangs; the thread is left behind.
        """
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S if deadline is None else deadline)
        if self._thread.is_alive():
            raise TimeoutError("the journal's disk does not answer")

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._errand is None and not self._over:
                    self._changed.wait(_IDLE_S)
                errand, self._errand = self._errand, None
                self._changed.notify_all()
                over = self._over
            if errand is None or errand.abandoned or not errand.run():
                self._idle()
            if over:
                return
