"""An engine that answers every batch in time, and is reopened or replaced when it fails or hangs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

from engines.batches import Batch, Batches
from engines.engine import CLOSE_S, Engine, Frames, Scores
from engines.errors import EngineError
from engines.succession import Limits, State, Succession
from engines.supervisor import Opener, SupervisedEngine

log = logging.getLogger(__name__)

_AFTER_A_FAULT_S = 0.1


class FailoverEngine(Engine):
    """Runs the first of several engines that works.

    Every batch is answered by its deadline, with scores or an `EngineError`; scores come in the order of submission.
    After three failed batches in a row, the engine is reopened. A hanging engine is abandoned with its daemon thread,
    and the next opener takes over. While a replacement runs, the preferred engine is opened beside it from time to
    time, and takes over between two batches.

    Args:
        openers: open the preferred engine, and those that may replace it. The first is used at once.
        limits: how long it waits before it acts.

    Attributes:
        state: `running`; `reopening` after failures; `hung` while a hung engine has no successor yet; `failed` while
            no engine can be opened, until a retry succeeds.
        trouble: a sentence that says what is wrong, or None.
        failovers: how often an engine was reopened or replaced.

    Raises:
        TaktlineError: the first opener failed.
    """

    def __init__(self, openers: Sequence[Opener], limits: Limits | None = None) -> None:
        self._openers, self._limits = tuple(openers), limits or Limits()
        self._batches: Batches[SupervisedEngine] = Batches()
        self._changed = self._batches.changed
        self._ended = False
        self._succession = Succession(len(self._openers), self._supervise, self._show, self._batches, self._limits)
        first = self._open_first()
        super().__init__(first.size, first.precision, first.max_batch, first.device)
        self.jobs = first.jobs
        with self._changed:
            self._succession.begin(first)
        self._watcher = threading.Thread(target=self._watch, name="engine supervisor", daemon=True)
        self._watcher.start()

    @property
    def state(self) -> State:
        """See the class."""
        return self._succession.state

    @property
    def trouble(self) -> str | None:
        """See the class."""
        return self._succession.trouble

    @property
    def failovers(self) -> int:
        """See the class."""
        return self._succession.failovers

    @property
    def inner(self) -> Engine | None:
        """The engine that runs at the moment, or None while none does."""
        current = self._succession.current
        return None if current is None else current.engine

    def set_threshold(self, threshold: float) -> None:
        """Moves the threshold of this engine, and of every engine that replaces it."""
        with self._changed:
            self._succession.threshold = threshold
            if self.inner is not None:
                self.inner.set_threshold(threshold)

    def close(self, deadline: float | None = None) -> None:
        """Waits for the batches in flight, then closes the engine; closing twice is safe.

        Args:
            deadline: seconds after which batches fail and a hanging engine is abandoned; None for 10.
        """
        until = time.monotonic() + (CLOSE_S if deadline is None else deadline)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._batches.unanswered or self.inner is None, _left(until))
            self._ended = True
            self._batches.fail(self._batches.unanswered, f"the engine {self.name} was closed before it answered")
            threads = self._succession.end()
            self._changed.notify_all()
        self._batches.flush()
        for thread in threads:
            if not thread.join(_left(until)):
                log.error("the engine %s did not close in time; it is abandoned", self.name)
        if threading.current_thread() is not self._watcher:
            self._watcher.join(max(0.1, _left(until)))

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        now = time.monotonic()
        limit = self._succession.patience(until, now)
        batch = Batch(frames, until, now + limit)
        with self._changed:
            self._changed.wait_for(lambda: self._refusal() or self._batches.in_flight < self.jobs, limit)
            refusal = self._refusal()
            if refusal is None and self._batches.in_flight >= self.jobs:
                refusal = f"the engine {self.name} took no batch within {limit:.3g} s"
            if refusal is not None:
                raise EngineError(refusal)
            self._batches.add(batch)
        return batch.future

    def _refusal(self) -> str | None:
        if self._closed:
            return f"the engine {self.name} is closed; open it again with open_engine"
        return self.trouble if self.state == "failed" else None

    def _open_first(self) -> Engine:
        thread = self._succession.current
        assert thread is not None
        with self._changed:
            self._changed.wait_for(lambda: thread.opened, self._limits.open_s)
            if thread.error is not None:
                raise thread.error
            if thread.engine is None:
                self._succession.end()
                raise EngineError(f"the engine did not open within {self._limits.open_s:g} s; its device seems to hang")
            return thread.engine

    def _supervise(self, index: int) -> SupervisedEngine:
        thread = SupervisedEngine(self._openers[index], index, self._batches, self._limits.failures)
        thread.start()
        return thread

    def _show(self, engine: Engine) -> None:
        self.name, self.precision = engine.name, engine.precision
        self.device, self.device_name = engine.device, engine.device_name
        self.batch_ns, self.choice = engine.batch_ns, engine.choice

    def _watch(self) -> None:
        """Reacts to failures and missed deadlines until the engine is closed."""
        while True:
            with self._changed:
                if self._ended:
                    return
                if not self._act():
                    moment = self._succession.next_moment()
                    self._changed.wait(None if moment is None else max(0.0, moment - time.monotonic()))
            self._batches.flush()

    def _act(self) -> bool:
        try:
            return self._succession.act(time.monotonic())
        except Exception:
            # Without a watcher, nothing would be answered any more that an engine does not answer.
            log.exception("the supervisor of the engine %s failed; it goes on", self.name)
            self._changed.wait(_AFTER_A_FAULT_S)
            return True

    def _close(self) -> None:
        """Does nothing: `close` has done everything."""


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
