"""Batches on their way through engines that may fail: each is answered once, in order, by its deadline."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from engines.engine import Frames, Scores
from engines.errors import EngineError, TaktlineError
from engines.foreign import first_line

Answer = Scores | Exception
Holder = TypeVar("Holder", bound=Hashable)


@dataclass(eq=False, slots=True)
class Batch:
    """A batch and its promise.

    Attributes:
        frames: uint8 `[N, H, W, 3]`.
        until: see `Engine.submit`.
        deadline: monotonic seconds by which it is answered, whatever happens.
        future: what the caller waits for.
        answer: the future's result or error, or None while there is none.
    """

    frames: Frames
    until: int | None
    deadline: float
    future: Future[Scores] = field(default_factory=Future)
    answer: Answer | None = None


class Batches(Generic[Holder]):
    """The batches that wait for an engine, and those that engines hold.

    Scores are handed out in the order of submission. A batch that is failed does not wait for those before it. Call
    every method except `flush` with the lock held. Call `flush` without it, after anything that answers a batch.

    Attributes:
        changed: the lock; it is notified of every change.
        waiting: batches that no engine holds yet, oldest first.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: deque[Batch] = deque()
        self._held: dict[Batch, Holder] = {}
        self._progress: dict[Holder, float] = {}
        self._open: deque[Batch] = deque()
        self._due: deque[Batch] = deque()
        self._giving = threading.RLock()

    @property
    def in_flight(self) -> int:
        """Number of batches that wait or that an engine holds; a failed one counts until its engine lets go of it."""
        return len(self.waiting) + len(self._held)

    @property
    def unanswered(self) -> list[Batch]:
        """Batches without an answer, in the order of submission."""
        return [batch for batch in self._open if batch.answer is None]

    def add(self, batch: Batch) -> None:
        """Lets a batch wait for an engine."""
        batch.future.set_running_or_notify_cancel()
        self.waiting.append(batch)
        self._open.append(batch)
        self.changed.notify_all()

    def take(self, holder: Holder, now: float) -> Batch:
        """Hands the oldest waiting batch to an engine, at this moment in monotonic seconds."""
        batch = self.waiting.popleft()
        if holder not in self._held.values():
            self._progress[holder] = now
        self._held[batch] = holder
        return batch

    def answered(self, batch: Batch, answer: Answer, now: float) -> bool:
        """Notes what an engine made of a batch at this moment; tells whether the engine was still asked for it."""
        holder = self._held.pop(batch, None)
        if holder is None:
            return False
        self._progress[holder] = now
        if batch.answer is None:
            batch.answer = answer
        self._collect()
        return True

    def silent_since(self) -> dict[Holder, float]:
        """Returns, for each engine that holds batches, when it last answered or, if later, took its first one."""
        return {holder: self._progress[holder] for holder in set(self._held.values())}

    def fail(self, batches: Iterable[Batch], why: str) -> None:
        """Fails open batches at once. One that an engine holds occupies its place until the engine answers."""
        for batch in batches:
            batch.answer = EngineError(why)
            self._open.remove(batch)
            if batch in self.waiting:
                self.waiting.remove(batch)
            self._due.append(batch)
        self._collect()

    def give_up(self, holder: Holder, why: str) -> None:
        """Fails what an engine holds, and expects nothing more from it."""
        lost = [batch for batch, other in self._held.items() if other is holder]
        for batch in lost:
            del self._held[batch]
        self._progress.pop(holder, None)
        self.fail([batch for batch in lost if batch.answer is None], why)

    def flush(self) -> None:
        """Resolves the futures of answered batches."""
        # One thread at a time: two could swap the order.
        with self._giving:
            while self._due:
                _give(self._due.popleft())

    def _collect(self) -> None:
        while self._open and self._open[0].answer is not None:
            self._due.append(self._open.popleft())
        self.changed.notify_all()


def _give(batch: Batch) -> None:
    answer = batch.answer
    if isinstance(answer, Scores):
        batch.future.set_result(answer)
    elif isinstance(answer, TaktlineError):
        batch.future.set_exception(answer)
    elif answer is not None:
        error = EngineError(f"the engine failed on a batch: {first_line(answer)}")
        error.__cause__ = answer
        batch.future.set_exception(error)
