"""A stage of the line: one thread that takes from its inbox until nothing more comes."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from pipeline.flow.channel import ChannelClosed

log = logging.getLogger(__name__)


class Stage(ABC):
    """One thread of the line.

    `work` runs until its inbox ends; then `finish` closes what comes after. A stage that raises is started again as
    often as `restarts` says; then it reports it once through `on_failure` and ends: a line does not go on without one
    of its stages. Whatever it held when it raised it must have answered for.

    Attributes:
        restarts: how many times it is started again.
    """

    restarts = 0

    def __init__(self, name: str) -> None:
        self.name = name
        self._on_failure: Callable[[str, Exception], None] | None = None
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self, on_failure: Callable[[str, Exception], None]) -> None:
        """Starts the thread; `on_failure` is called from it with the stage's name and the error."""
        self._on_failure = on_failure
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Waits for the thread to end and tells whether it has."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @abstractmethod
    def work(self) -> None:
        """Does the stage's job until its inbox raises `ChannelClosed`."""

    @abstractmethod
    def finish(self) -> None:
        """Closes what this stage feeds; called once, whatever happened."""

    def _run(self) -> None:
        left = self.restarts
        try:
            while True:
                try:
                    self.work()
                    return
                except ChannelClosed:
                    return
                except Exception as error:
                    if not left:
                        raise
                    left -= 1
                    log.exception("the stage %s failed (%s); it is started again", self.name, type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the thread's last stop: reported, never swallowed
            assert self._on_failure is not None
            self._on_failure(self.name, error)
        finally:
            self.finish()
