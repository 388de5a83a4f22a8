"""The world around a simulated line: a clock that jumps, devices that work, stall and break, and engines on them."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Condition
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engines.batches import Batch, Batches
from engines.engine import Engine, Frames, Scores
from engines.errors import EngineError
from engines.succession import Limits, Succession
from engines.supervisor import SupervisedEngine

MS = 1_000_000
SECOND = 1_000_000_000
SIZE = (8, 8)
GRACE_NS = round(Limits().grace_s * SECOND)


class VirtualClock:
    """A clock that stands until it is moved, and what is to happen at which time. Its wall clock may be stepped."""

    def __init__(self) -> None:
        self.now = SECOND
        self.offset = 1_700_000_000 * SECOND
        self._agenda: list[tuple[int, int, Callable[[], object]]] = []
        self._count = itertools.count()

    def monotonic_ns(self) -> int:
        """Returns the virtual time."""
        return self.now

    def seconds(self) -> float:
        """Returns the virtual time in seconds."""
        return self.now / 1e9

    def wall_ns(self) -> int:
        """Returns the virtual date, with every step that it was set by."""
        return self.now + self.offset

    def wait_for(self, changed: Condition, predicate: Callable[[], object], timeout_s: float | None = None) -> bool:
        """Nothing waits in an event loop."""
        raise AssertionError("a step function waited")

    def at(self, moment: int, call: Callable[[], object]) -> None:
        """Lets something happen at a time, in nanoseconds."""
        heapq.heappush(self._agenda, (moment, next(self._count), call))

    def next_moment(self) -> int | None:
        """Returns when something happens next."""
        return self._agenda[0][0] if self._agenda else None

    def happen(self) -> None:
        """Lets everything happen whose time has come."""
        while self._agenda and self._agenda[0][0] <= self.now:
            heapq.heappop(self._agenda)[2]()


class Outcome(NamedTuple):
    """What becomes of a batch.

    Attributes:
        taken: nanoseconds that the engine works on it.
        scores: what it returns; None where it fails.
    """

    taken: int
    scores: Scores | None


def all_exact(score: npt.NDArray[np.float32]) -> Scores:
    """Scores of an engine in float32, with empty heatmaps."""
    count = len(score)
    return Scores(score, np.zeros((count, 2, 2), np.float32), np.ones(count, np.bool_), np.zeros(count, np.bool_))


class VirtualEngine(Engine):
    """An engine that works on one batch after another, each as long as it is told.

    Args:
        clock: tells the time.
        draw: what becomes of a batch of so many frames, and when it may begin at the earliest.
        max_batch: the most frames in one.
        warm: what it tells of its warm-up.
        name: its name.
        precision: its precision.
    """

    def __init__(
        self,
        clock: VirtualClock,
        draw: Callable[[VirtualEngine, int], Outcome],
        max_batch: int,
        warm: Mapping[int, int],
        name: str = "virtual",
        precision: str = "f32",
    ) -> None:
        super().__init__(SIZE, precision, max_batch, "cpu")
        self.name, self.batch_ns = name, dict(warm)
        self.threshold: float | None = None
        self._clock, self._draw = clock, draw
        self._free = 0

    def set_threshold(self, threshold: float) -> None:
        """Looks again near another threshold from the next batch on."""
        self.threshold = threshold

    @property
    def room(self) -> bool:
        """Whether it takes another batch without waiting."""
        return True

    @property
    def idle(self) -> bool:
        """Whether no batch is in it."""
        return self._free <= self._clock.now

    def step(self) -> None:
        """Does what its threads would do now: it has none."""

    def next_moment(self) -> int | None:
        """Returns when its threads have something to do."""
        return None

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        outcome = self._draw(self, len(frames))
        future: Future[Scores] = Future()
        self._free = max(self._free, self._clock.now) + outcome.taken
        self._clock.at(self._free, partial(_resolve, future, outcome.scores))
        return future

    def _close(self) -> None:
        """Nothing is open."""


def _resolve(future: Future[Scores], scores: Scores | None) -> None:
    if scores is None:
        # As a foreign library raises it.
        future.set_exception(RuntimeError("the virtual device is broken"))
    else:
        future.set_result(scores)


class VirtualFailover(Engine):
    """What `FailoverEngine` does with threads, a step at a time: the same decisions about the same batches.

    Args:
        clock: tells the time.
        openers: open the preferred engine, and those that may replace it.
        opening: returns how long it takes to open one of them now, in nanoseconds; the first is open at once.
        limits: how patient it is.
    """

    def __init__(
        self,
        clock: VirtualClock,
        openers: Sequence[Callable[[], Engine]],
        opening: Callable[[int], int],
        limits: Limits,
    ) -> None:
        self._clock, self._openers, self._opening, self._limits = clock, openers, opening, limits
        self._batches: Batches[SupervisedEngine] = Batches()
        self._begun = False
        self.succession = Succession(len(openers), self._supervise, self._show, self._batches, limits)
        assert self.succession.current is not None
        self.succession.current.open()
        first = self.succession.current.engine
        assert first is not None
        super().__init__(first.size, first.precision, first.max_batch, first.device)
        self.succession.begin(first)
        self._begun = True

    def set_threshold(self, threshold: float) -> None:
        """Tells the engine, and every one that takes its place."""
        self.succession.threshold = threshold
        current = self.succession.current
        if current is not None and current.engine is not None:
            current.engine.set_threshold(threshold)

    @property
    def room(self) -> bool:
        """Whether it takes another batch, or refuses it, without waiting."""
        return self.succession.state == "failed" or self._batches.in_flight < self.jobs

    @property
    def idle(self) -> bool:
        """Whether no batch is in it."""
        return not self._batches.in_flight

    def step(self) -> None:
        """Does what its threads would do now."""
        with self._batches.changed:
            while self.succession.act(self._clock.seconds()):
                pass
        current = self.succession.current
        while current is not None and current.may_take:
            current.feed()
        self._batches.flush()

    def next_moment(self) -> int | None:
        """Returns when its threads have something to do, in nanoseconds."""
        moment = self.succession.next_moment()
        # A little later rather than a little earlier: it is a fraction of seconds.
        return None if moment is None else math.ceil(moment * 1e6) * 1000

    def _supervise(self, index: int) -> SupervisedEngine:
        thread = SupervisedEngine(
            self._openers[index], index, self._batches, self._limits.failures, self._clock.seconds
        )
        if self._begun:
            self._clock.at(self._clock.now + self._opening(index), thread.open)
        return thread

    def _show(self, engine: Engine) -> None:
        self.name, self.precision, self.batch_ns = engine.name, engine.precision, engine.batch_ns

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        if self.succession.state == "failed":
            raise EngineError(str(self.succession.trouble))
        if not self.room:
            raise EngineError("it took no batch in time")
        now = self._clock.seconds()
        batch = Batch(frames, until, now + self.succession.patience(until, now))
        with self._batches.changed:
            self._batches.add(batch)
        return batch.future

    def _close(self) -> None:
        self.succession.end()
