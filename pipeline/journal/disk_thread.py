"""One thread for all that touches the disk, so that a disk that hangs holds nobody else up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from engines.closing import Closing
from pipeline.flow.closing import CLOSE_S

_IDLE_S = 0.5


class Errand:
    """Something to be done on the disk.

    Args:
        work: does it; is given the errand.
        too_late: called after work that succeeded when nobody waited for it any more.
    """

    def __init__(self, work: Callable[[Errand], None], too_late: Callable[[], None]) -> None:
        self._work, self._too_late = work, too_late
        self._changed = threading.Condition()
        self._done = self._abandoned = False
        self._error: Exception | None = None

    @property
    def abandoned(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._abandoned

    def run(self) -> bool:
        """Does the work, and returns whether somebody still waited for it."""
        try:
            self._work(self)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
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
        """Waits until it is done; gives it up after so many seconds.

        Raises:
            TimeoutError: it was given up. It may still be done later.
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
        idle: called every half second while there is no errand, and once more at the end.
    """

    def __init__(self, idle: Callable[[], None]) -> None:
        self._idle = idle
        self._errand: Errand | None = None
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[Errand], None], seconds: float, too_late: Callable[[], None] = lambda: None) -> None:
        """Has something done and waits for it, but not for longer than some seconds; see `Errand`.

        Raises:
            TimeoutError: it takes longer; the errand is told that it is abandoned.
            Exception: what the work raised.
        """
        errand, until = Errand(work, too_late), time.monotonic() + seconds
        with self._changed:
            # The thread takes an errand as soon as it has done the last one, which may hang.
            if not self._changed.wait_for(lambda: self._errand is None, seconds):
                raise TimeoutError(f"the disk has not answered for {seconds:.3g} s")
            self._errand = errand
            self._changed.notify_all()
        errand.wait(max(0.0, until - time.monotonic()))

    def wake(self) -> None:
        """Has `idle` called at once."""
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
