"""A line on a virtual clock: the product's queue, batcher, ledger, decision and journal, driven by an event loop.

Nothing here decides anything: it calls the same step functions that the threads of a line call, in the order in which
events come, and lets the clock jump from one to the next. What is drawn is the world around: when frames come, what
an engine takes and returns, and what fails.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from threading import Condition
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engines.bundle import Bundle
from engines.engine import Engine, Frames, Scores
from engines.errors import EngineError
from pipeline.config.camera import Overload
from pipeline.config.sections import DecisionSection
from pipeline.flow.channel import Channel
from pipeline.flow.decided import Decided
from pipeline.flow.frame import Frame
from pipeline.line.batcher import Batch, BatchBuffers, Batcher
from pipeline.line.decision import Decision
from pipeline.line.fair_queue import FairQueue
from pipeline.line.inference import Inference, ScoredBatch
from pipeline.line.judge import Judge
from pipeline.line.ledger import Ledger
from pipeline.line.model import Model, ModelSlot
from pipeline.line.service_time import ServiceTime
from pipeline.publish.metrics import LineMetrics

SECOND = 1_000_000_000
PICTURE = np.zeros((8, 8, 3), np.uint8)
# An answer waits in the line's last queue until a publisher takes it: at most so many at once.
_PUBLISHED_AT_ONCE = 256


class VirtualClock:
    """A clock that stands until it is moved; its wall clock may be stepped."""

    def __init__(self) -> None:
        self.now = SECOND
        self.offset = 1_700_000_000 * SECOND

    def monotonic_ns(self) -> int:
        """Returns the virtual time."""
        return self.now

    def wall_ns(self) -> int:
        """Returns the virtual date, with every step that it was set by."""
        return self.now + self.offset

    def wait_for(self, changed: Condition, predicate: Callable[[], object], timeout_s: float | None = None) -> bool:
        """Nothing waits in an event loop."""
        raise AssertionError("a step function waited")


class Outcome(NamedTuple):
    """What becomes of a batch.

    Attributes:
        taken: nanoseconds that the engine works on it.
        scores: float32 `[N]`, or None where it fails.
        exact: bool `[N]`.
        rescored: bool `[N]`.
        threshold: the one that `exact` holds for; None for any.
    """

    taken: int
    scores: npt.NDArray[np.float32] | None
    exact: npt.NDArray[np.bool_]
    rescored: npt.NDArray[np.bool_]
    threshold: float | None = None


class VirtualEngine(Engine):
    """An engine that works on one batch after another, each as long as it is told.

    Args:
        clock: tells the time.
        draw: what becomes of a batch of so many frames.
        max_batch: the most frames in one.
        warm: what it tells of its warm-up.
    """

    name = "virtual"

    def __init__(
        self, clock: VirtualClock, draw: Callable[[int], Outcome], max_batch: int, warm: dict[int, int]
    ) -> None:
        super().__init__((8, 8), "f32", max_batch, "cpu")
        self._clock, self.draw = clock, draw
        self.batch_ns = warm
        self._free = 0
        self.events: list[tuple[int, int, Future[Scores], Outcome]] = []
        self._count = 0
        self.busy = 0
        self._map = np.zeros((max_batch, 2, 2), np.float32)

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        outcome = self.draw(len(frames))
        future: Future[Scores] = Future()
        self._free = max(self._free, self._clock.now) + outcome.taken
        self.busy += outcome.taken
        self._count += 1
        heapq.heappush(self.events, (self._free, self._count, future, outcome))
        return future

    def resolve(self) -> None:
        """Resolves the batches that are done by now."""
        while self.events and self.events[0][0] <= self._clock.now:
            _, _, future, (_, scores, exact, rescored, threshold) = heapq.heappop(self.events)
            if scores is None:
                future.set_exception(EngineError("the virtual engine was told to fail"))
            else:
                count = len(scores)
                future.set_result(Scores(scores, self._map[:count], exact, rescored, threshold))

    def _close(self) -> None:
        """Nothing is open."""


class Arrival(NamedTuple):
    """A frame that comes.

    Attributes:
        at: monotonic nanoseconds.
        camera: its name.
        encoded: bytes that are no picture, or None for a good one.
    """

    at: int
    camera: str
    encoded: bytes | None = None


class VirtualLine:
    """A line of the product's parts, without their threads.

    Args:
        bundle: whose threshold it judges by.
        engine: what scores.
        clock: the engine's too.
        cameras: by name: what to do when a queue is full.
        takt_ns: as of a line; None for none.
        publish: takes what is answered, in order; told the time by the clock.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: VirtualEngine,
        clock: VirtualClock,
        cameras: dict[str, Overload],
        takt_ns: int | None,
        publish: Callable[[Sequence[Decided]], None],
    ) -> None:
        self.clock, self.engine, self._publish = clock, engine, publish
        judge = Judge(bundle, engine, DecisionSection(heatmaps="none"), "virtual", clock)
        slot = ModelSlot(Model(bundle, engine, judge))
        self.judge = judge
        self.answers: Channel[Decided] = Channel(1 << 30)
        self.ledger = Ledger(slot, list(cameras), self.answers, takt_ns, clock=clock)
        self.queue = FairQueue(cameras, engine.max_batch)
        self.service_time = ServiceTime(engine.max_batch, lambda: slot.current.engine.batch_ns)
        self.buffers = BatchBuffers(engine.jobs + 1, engine.max_batch, engine.size, self._returned)
        self._free = engine.jobs + 1
        batches: Channel[Batch] = Channel(engine.jobs + 1)
        scored: Channel[ScoredBatch] = Channel(engine.jobs + 1)
        self.batcher = Batcher(self.queue, batches, self.buffers, self.ledger, self.service_time, clock, decoders=1)
        self.inference = Inference(slot, batches, scored, self.buffers, clock)
        self.decision = Decision(scored, self.ledger, self.service_time, LineMetrics(list(cameras)), clock)
        self._scored: list[ScoredBatch] = []
        self._next = dict.fromkeys(cameras, 0)
        self.most_waiting = self.most_open = 0

    def run(self, arrivals: Iterator[Arrival], between: Callable[[], None] | None = None) -> None:
        """Lets all frames come, in order of time, and everything be answered.

        Args:
            arrivals: the frames.
            between: called before each arrival, to change something in the world.
        """
        clock, engine = self.clock, self.engine
        coming = next(arrivals, None)
        again: int | None = None
        while True:
            moments = [moment for moment in (again, self.ledger.next_moment()) if moment is not None]
            if coming is not None:
                moments.append(coming.at)
            if engine.events:
                moments.append(engine.events[0][0])
            if not moments:
                break
            clock.now = max(clock.now, min(moments))
            engine.resolve()
            self._decide()
            while coming is not None and coming.at <= clock.now:
                if between is not None:
                    between()
                self._capture(coming)
                coming = next(arrivals, None)
            again = self._batch()
            self._answer()

    def _capture(self, arrival: Arrival) -> None:
        sequence = self._next[arrival.camera]
        self._next[arrival.camera] = sequence + 1
        clock = self.clock
        image = PICTURE if arrival.encoded is None else None
        frame = Frame(arrival.camera, sequence, image, clock.wall_ns(), clock.now, arrival.encoded)
        self.ledger.open(frame)
        dropped = self.queue.put(frame)
        if dropped is not None:
            self.ledger.give_up(dropped, "dropped")
        self.most_waiting = max(self.most_waiting, self.queue.depth)

    def _batch(self) -> int | None:
        while self._free:
            frames, _, again = self.batcher.choose(self.clock.now)
            if not frames:
                return again
            slot = self.buffers.take()
            batch = self.batcher.fill(frames, slot)
            if batch is None:
                self.buffers.give_back(slot)
            else:
                self._free -= 1
                self._scored.append(self.inference.submit(batch))
        return None

    def _returned(self, slot: int, failed: bool) -> None:
        if self.service_time.done(slot, self.clock.now, failed):
            self._free += 1

    def _decide(self) -> None:
        while self._scored and self._scored[0].scores.done():
            self.decision.decide(self._scored.pop(0))

    def _answer(self) -> None:
        answers = self.ledger.step(self.clock.now)
        self.most_open = max(self.most_open, len(self.ledger))
        for start in range(0, len(answers), _PUBLISHED_AT_ONCE):
            self._publish(answers[start : start + _PUBLISHED_AT_ONCE])

    @property
    def captured(self) -> dict[str, int]:
        """How many frames came, by camera."""
        return dict(self._next)
