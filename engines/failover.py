"""An engine that answers every batch in time, and is opened again or replaced when it fails or hangs."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal

from engines.batches import Batch, Batches
from engines.engine import CLOSE_S, Engine, Frames, Scores
from engines.errors import EngineError
from engines.supervisor import Opener, SupervisedEngine

log = logging.getLogger(__name__)

State = Literal["running", "reopening", "hung", "failed"]
_NEVER = float("inf")
_TIMES_SLOWER = 10


@dataclass(frozen=True)
class Limits:
    """How patient a `FailoverEngine` is; times in seconds.

    Attributes:
        answer_s: how long an engine may hold batches without answering any before it counts as hung, and how long a
            batch without a deadline of its own waits for its answer. A slow engine has ten times what its slowest batch
            took while warming.
        grace_s: how long a batch is waited for after its own deadline: later frames in it may have more time, and a
            slow engine is not a hung one.
        open_s: how long opening may take; compiling a model takes minutes on some devices.
        failures: batches that fail in a row before the engine is opened again.
        retry_s: pause before openers are tried again when none works; it doubles up to `longest_retry_s`.
        longest_retry_s: the longest such pause.
        return_s: how long another engine runs before the preferred one is tried again; it doubles with each try.
        longest_return_s: the longest such time.
    """

    answer_s: float = 10.0
    grace_s: float = 1.0
    open_s: float = 600.0
    failures: int = 3
    retry_s: float = 1.0
    longest_retry_s: float = 30.0
    return_s: float = 30.0
    longest_return_s: float = 600.0


class FailoverEngine(Engine):
    """Runs the first of several engines that works.

    Every batch is answered by its deadline, with scores or an `EngineError`; scores come in the order of submission.
    An engine whose batches fail three times in a row is opened again. One that hangs is left to its daemon thread, and
    the next opener takes over. While another engine than the preferred one runs, the preferred one is opened beside it
    from time to time, and takes over between two batches.

    Args:
        openers: open the preferred engine, and those that may replace it. The first is used at once.
        limits: how patient it is.

    Attributes:
        state: `running`; `reopening` after failures; `hung` while a hung engine has no successor yet; `failed` while
            no engine can be opened, which is tried again.
        trouble: a sentence that says what is wrong, or None.
        failovers: how often an engine was opened again or replaced.

    Raises:
        TaktlineError: what the first opener raises.
    """

    def __init__(self, openers: Sequence[Opener], limits: Limits | None = None) -> None:
        self._openers, self._limits = tuple(openers), limits or Limits()
        self._batches: Batches[SupervisedEngine] = Batches()
        self._changed = self._batches.changed
        self.failovers = 0
        self.state: State = "running"
        self.trouble: str | None = None
        self._threshold: float | None = None
        self._ended = False
        self._candidates: deque[int] = deque()
        self._current: SupervisedEngine | None = None
        self._attempt: SupervisedEngine | None = None
        self._next_attempt = _NEVER
        self._retry_s, self._return_s = self._limits.retry_s, self._limits.return_s
        self._reopened: set[int] = set()
        first = self._open_first()
        super().__init__(first.size, first.precision, first.max_batch, first.device)
        self.jobs = first.jobs
        self._show(first)
        self._watcher = threading.Thread(target=self._watch, name="engine supervisor", daemon=True)
        self._watcher.start()

    @property
    def inner(self) -> Engine | None:
        """The engine that runs at the moment, or None while none does."""
        current = self._current
        return None if current is None else current.engine

    def set_threshold(self, threshold: float) -> None:
        """Tells the engine, and every one that takes its place."""
        with self._changed:
            self._threshold = threshold
            if self._current is not None and self._current.engine is not None:
                self._current.engine.set_threshold(threshold)

    def close(self, deadline: float | None = None) -> None:
        """Waits for the batches in flight, then closes the engine; closing twice is safe.

        Args:
            deadline: seconds after which batches fail, and an engine that hangs is left to itself; None for 10.
        """
        until = time.monotonic() + (CLOSE_S if deadline is None else deadline)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._batches.unanswered or self._current is None, _left(until))
            self._ended = True
            self._batches.fail(self._batches.unanswered, f"the engine {self.name} was closed before it answered")
            threads = [thread for thread in (self._current, self._attempt) if thread is not None]
            for thread in threads:
                thread.retired = True
            self._current = self._attempt = None
        self._batches.flush()
        for thread in threads:
            if not thread.join(_left(until)):
                log.error("the engine %s did not close in time; it is left to itself", self.name)
        if threading.current_thread() is not self._watcher:
            self._watcher.join(max(0.1, _left(until)))

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        now = time.monotonic()
        limit = self._answer_s
        if until is not None:
            limit = min(limit, max(0.0, until / 1e9 - now) + self._limits.grace_s)
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
        thread = self._current = self._supervise(0)
        with self._changed:
            self._changed.wait_for(lambda: thread.opened, self._limits.open_s)
            if thread.error is not None:
                raise thread.error
            if thread.engine is None:
                thread.retired = True
                raise EngineError(f"the engine did not open within {self._limits.open_s:g} s; its device seems to hang")
            thread.serving = True
            return thread.engine

    def _supervise(self, index: int) -> SupervisedEngine:
        return SupervisedEngine(self._openers[index], index, self._batches, self._limits.failures)

    def _watch(self) -> None:
        """Acts on what happened and on what is overdue, until the engine is closed."""
        while True:
            with self._changed:
                if self._ended:
                    return
                acted = self._act(time.monotonic())
                if not acted:
                    self._changed.wait(self._until_next(time.monotonic()))
            self._batches.flush()

    def _act(self, now: float) -> bool:
        """Does what is to be done now, and tells whether there was anything."""
        overdue = [batch for batch in self._batches.unanswered if batch.deadline <= now]
        if overdue:
            self._batches.fail(overdue, f"the engine {self.name} did not answer in time")
        limit = self._answer_s
        hung = [thread for thread, since in self._batches.silent_since().items() if now - since >= limit]
        for thread in hung:
            self._lose(thread, "hung", f"hangs: it has not answered for {limit:g} s")
        current, attempt = self._current, self._attempt
        if current is not None and current.failing:
            self._lose(current, "reopening", f"failed {current.failures} times in a row")
        elif attempt is not None and (attempt.opened or now - attempt.started >= self._limits.open_s):
            self._end_attempt(attempt, now)
        elif attempt is None and now >= self._next_attempt:
            self._attempt = self._supervise(self._candidates.popleft())
        else:
            return bool(overdue or hung)
        return True

    def _until_next(self, now: float) -> float | None:
        times = [batch.deadline for batch in self._batches.unanswered]
        times += [since + self._answer_s for since in self._batches.silent_since().values()]
        times.append(self._next_attempt if self._attempt is None else self._attempt.started + self._limits.open_s)
        return None if min(times) == _NEVER else max(0.0, min(times) - now)

    def _lose(self, thread: SupervisedEngine, state: State, why: str) -> None:
        """Gives up an engine with the batches it holds, and chooses which openers are tried next."""
        thread.retired = True
        self._batches.give_up(thread, f"the engine {self.name} {why}")
        if thread is not self._current:
            return
        self._current, self.state = None, state
        self.trouble = f"the engine {self.name} ({self.device_name}) {why}; it is opened again"
        log.error("%s", self.trouble)
        order = list(range(len(self._openers)))
        # Its device hangs, or it did no better when it was opened again: another engine first.
        if state == "hung" or (thread.index in self._reopened and not thread.scored):
            order = order[thread.index + 1 :] + order[: thread.index + 1]
        if thread.index == 0 and time.monotonic() - thread.started > self._return_s:
            self._return_s = self._limits.return_s
        self._reopened.add(thread.index)
        self._give_up_attempt()
        self._candidates, self._next_attempt = deque(order), 0.0

    def _give_up_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.retired = True
            self._attempt = None

    def _end_attempt(self, attempt: SupervisedEngine, now: float) -> None:
        engine = attempt.engine
        if engine is not None and engine.max_batch >= self.max_batch:
            self._take_over(attempt, engine, now)
            return
        if engine is not None:
            log.error("the engine %s takes batches of %d only, and the line makes some of %d",
                      engine.name, engine.max_batch, self.max_batch)  # fmt: skip
        elif attempt.error is not None:
            log.error("the engine cannot be opened: %s", attempt.error)
        else:
            log.error("an engine did not open within %g s; its device seems to hang", self._limits.open_s)
        self._give_up_attempt()
        if self._candidates:
            self._next_attempt = 0.0
        elif self._current is not None:
            self._return_later(self._current.index, now)
        else:
            self.state = "failed"
            self.trouble = f"the engine {self.name} failed and cannot be opened again yet; look at its device"
            self._candidates, self._next_attempt = deque(range(len(self._openers))), now + self._retry_s
            self._retry_s = min(self._limits.longest_retry_s, 2 * self._retry_s)
            self._batches.fail(list(self._batches.waiting), self.trouble)

    def _take_over(self, thread: SupervisedEngine, engine: Engine, now: float) -> None:
        if self._current is not None:
            # It answers for what it holds, and closes.
            self._current.retired = True
        self._attempt, self._current = None, thread
        self.failovers += 1
        self._show(engine)
        if self._threshold is not None:
            engine.set_threshold(self._threshold)
        self.state, self.trouble, self._retry_s = "running", None, self._limits.retry_s
        self._return_later(thread.index, now)
        thread.serving = True
        log.warning("the line goes on with the engine %s %s on %s", self.name, self.precision, self.device_name)
        self._changed.notify_all()

    def _return_later(self, index: int, now: float) -> None:
        """Plans when the engines that are preferred to this one are tried again."""
        self._candidates, self._next_attempt = deque(range(index)), _NEVER
        if index:
            self._next_attempt = now + self._return_s
            self._return_s = min(self._limits.longest_return_s, 2 * self._return_s)

    def _show(self, engine: Engine) -> None:
        self.name, self.precision = engine.name, engine.precision
        self.device, self.device_name = engine.device, engine.device_name
        self.batch_ns, self.choice = engine.batch_ns, engine.choice
        slowest_s = max(engine.batch_ns.values(), default=0) / 1e9
        self._answer_s = max(self._limits.answer_s, _TIMES_SLOWER * slowest_s)

    def _close(self) -> None:
        """Nothing is left to `Engine.close`."""


def _left(until: float) -> float:
    return max(0.0, until - time.monotonic())
