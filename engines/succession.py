"""Which of several engines runs, and which is tried next: decisions without threads, waiting or clocks."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from engines.batches import Batches
from engines.engine import Engine
from engines.supervisor import SupervisedEngine

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
        failures: batches that fail in a row before the engine is reopened.
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


class Succession:
    """Decides which engine runs: see `FailoverEngine`. Whoever calls it holds the lock of the batches.

    Args:
        count: how many engines there are, the preferred one first.
        supervise: begins to open one of them, by its place in that order.
        show: told of each engine that takes over, before it gets a batch.
        batches: what the engines answer for.
        limits: how patient it is.

    Attributes:
        state: see `FailoverEngine`.
        trouble: see `FailoverEngine`.
        failovers: see `FailoverEngine`.
        current: the engine that runs; None while none does.
        threshold: what each engine that takes over is told; None for nothing.
        answer_s: how long the engine that runs may be silent.
    """

    def __init__(
        self,
        count: int,
        supervise: Callable[[int], SupervisedEngine],
        show: Callable[[Engine], None],
        batches: Batches[SupervisedEngine],
        limits: Limits,
    ) -> None:
        self._count, self._supervise, self._tell = count, supervise, show
        self._batches, self._limits = batches, limits
        self.state: State = "running"
        self.trouble: str | None = None
        self.failovers = 0
        self.threshold: float | None = None
        self.answer_s = limits.answer_s
        self._max_batch = 0
        self._name = self._device_name = ""
        self._candidates: deque[int] = deque()
        self._attempt: SupervisedEngine | None = None
        self._next_attempt = _NEVER
        self._retry_s, self._return_s = limits.retry_s, limits.return_s
        self._reopened: set[int] = set()
        self.current: SupervisedEngine | None = supervise(0)

    def begin(self, first: Engine) -> None:
        """Lets the first engine take batches, once it is open."""
        assert self.current is not None
        self._max_batch = first.max_batch
        self._show(first)
        self.current.serving = True

    def end(self) -> list[SupervisedEngine]:
        """Retires every engine, and returns those that are to be waited for."""
        threads = [thread for thread in (self.current, self._attempt) if thread is not None]
        for thread in threads:
            thread.retired = True
        self.current = self._attempt = None
        return threads

    def patience(self, until: int | None, now: float) -> float:
        """Returns within how many seconds a batch is answered, by its own deadline; see `Engine.submit`."""
        if until is None:
            return self.answer_s
        return min(self.answer_s, max(0.0, until / 1e9 - now) + self._limits.grace_s)

    def act(self, now: float) -> bool:
        """Does what is to be done now, and tells whether there was anything."""
        overdue = [batch for batch in self._batches.unanswered if batch.deadline <= now]
        if overdue:
            self._batches.fail(overdue, f"the engine {self._name} did not answer in time")
        limit = self.answer_s
        hung = [thread for thread, since in self._batches.silent_since().items() if now - since >= limit]
        for thread in hung:
            self._lose(thread, "hung", f"hangs: it has not answered for {limit:g} s", now)
        current, attempt = self.current, self._attempt
        if current is not None and current.failing:
            self._lose(current, "reopening", f"failed {current.failures} times in a row", now)
        elif attempt is not None and (attempt.opened or now - attempt.started >= self._limits.open_s):
            self._end_attempt(attempt, now)
        elif attempt is None and now >= self._next_attempt:
            self._attempt = self._supervise(self._candidates.popleft())
        else:
            return bool(overdue or hung)
        return True

    def next_moment(self) -> float | None:
        """Returns when it should act if nothing happens before, monotonic seconds; None for never."""
        times = [batch.deadline for batch in self._batches.unanswered]
        times += [since + self.answer_s for since in self._batches.silent_since().values()]
        times.append(self._next_attempt if self._attempt is None else self._attempt.started + self._limits.open_s)
        return None if min(times) == _NEVER else min(times)

    def _lose(self, thread: SupervisedEngine, state: State, why: str, now: float) -> None:
        """Gives up an engine with the batches it holds, and chooses which openers are tried next."""
        thread.retired = True
        self._batches.give_up(thread, f"the engine {self._name} {why}")
        if thread is not self.current:
            return
        self.current, self.state = None, state
        self.trouble = f"the engine {self._name} ({self._device_name}) {why}; it is being reopened"
        log.error("%s", self.trouble)
        order = list(range(self._count))
        # Its device hangs, or reopening did not help: try another engine first.
        if state == "hung" or (thread.index in self._reopened and not thread.scored):
            order = order[thread.index + 1 :] + order[: thread.index + 1]
        if thread.index == 0 and now - thread.started > self._return_s:
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
        if engine is not None and engine.max_batch >= self._max_batch:
            self._take_over(attempt, engine, now)
            return
        if engine is not None:
            log.error("the engine %s takes batches of %d only, and the line makes some of %d",
                      engine.name, engine.max_batch, self._max_batch)  # fmt: skip
        elif attempt.error is not None:
            log.error("the engine cannot be opened: %s", attempt.error)
        else:
            log.error("an engine did not open within %g s; its device seems to hang", self._limits.open_s)
        self._give_up_attempt()
        if self._candidates:
            self._next_attempt = 0.0
        elif self.current is not None:
            self._return_later(self.current.index, now)
        else:
            self.state = "failed"
            self.trouble = f"the engine {self._name} failed and cannot be reopened yet; check its device"
            self._candidates, self._next_attempt = deque(range(self._count)), now + self._retry_s
            self._retry_s = min(self._limits.longest_retry_s, 2 * self._retry_s)
            self._batches.fail(list(self._batches.waiting), self.trouble)

    def _take_over(self, thread: SupervisedEngine, engine: Engine, now: float) -> None:
        if self.current is not None:
            # It answers for what it holds, and closes.
            self.current.retired = True
        self._attempt, self.current = None, thread
        self.failovers += 1
        self._show(engine)
        if self.threshold is not None:
            engine.set_threshold(self.threshold)
        self.state, self.trouble, self._retry_s = "running", None, self._limits.retry_s
        self._return_later(thread.index, now)
        thread.serving = True
        log.warning("the line goes on with the engine %s %s on %s", engine.name, engine.precision, engine.device_name)
        self._batches.changed.notify_all()

    def _return_later(self, index: int, now: float) -> None:
        """Plans when the engines that are preferred to this one are tried again."""
        self._candidates, self._next_attempt = deque(range(index)), _NEVER
        if index:
            self._next_attempt = now + self._return_s
            self._return_s = min(self._limits.longest_return_s, 2 * self._return_s)

    def _show(self, engine: Engine) -> None:
        self._name, self._device_name = engine.name, engine.device_name
        slowest_s = max(engine.batch_ns.values(), default=0) / 1e9
        self.answer_s = max(self._limits.answer_s, _TIMES_SLOWER * slowest_s)
        self._tell(engine)
