"""A stage of the line: one thread that works through its inbox until that ends."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from pipeline.flow.channel import ChannelClosed
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.restarts import RestartBudget

log = logging.getLogger(__name__)

OnFailure = Callable[[str, BaseException], None]


class Stage(ABC):
    """One thread of the line.

    `work` runs until its inbox ends; then `ended` closes what this stage feeds. A stage that raises is restarted, up
    to `restarts` times an hour. After that it reports the error through `on_failure` and ends, because a line cannot
    continue without one of its stages. Before a stage raises, it must have answered every frame that it held.

    The thread is a daemon, so hanging in a foreign call does not keep the process alive.

    Args:
        name: name of the stage and its thread.
        clock: tells the time.

    Attributes:
        restarts: how many times an hour it is restarted.
    """

    restarts = 0

    def __init__(self, name: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self.name, self._clock = name, clock
        self._budget = RestartBudget(self.restarts, clock=clock)
        self._on_failure: OnFailure | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, on_failure: OnFailure) -> None:
        """Starts the thread; `on_failure` is called from it with the stage's name and the error."""
        self._on_failure = on_failure
        self._thread.start()

    def drain(self) -> None:  # noqa: B027 - most stages need not do anything
        """Asks the stage to finish its work and end. Returns at once; most stages end with their inbox anyway."""

    def join(self, timeout: float | None = None) -> bool:
        """Waits for the thread to end and returns whether it has."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    @abstractmethod
    def work(self) -> None:
        """Does the stage's job until its inbox raises `ChannelClosed`."""

    def ended(self) -> None:  # noqa: B027 - the last stages feed nothing
        """Closes what this stage feeds; called once, from its thread, in any case."""

    def _run(self) -> None:
        try:
            while True:
                try:
                    self.work()
                    return
                except ChannelClosed:
                    return
                except Exception as error:
                    if not self._budget.spend():
                        raise
                    log.exception("the stage %s failed (%s); restarting it", self.name, type(error).__name__)
        except BaseException as error:  # noqa: BLE001 - includes a library's `sys.exit`: no stage ends silently
            assert self._on_failure is not None
            self._on_failure(self.name, error)
        finally:
            self.ended()
