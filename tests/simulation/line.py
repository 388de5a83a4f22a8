"""A line on a virtual clock: the product's queue, batcher, ledger, supervisor, decision, driven by an event loop.

Nothing here decides anything: it calls the same step functions that the threads of a line call, in the order in which
events come, and lets the clock jump from one to the next. What is drawn is the world around: when frames come, what
an engine takes and returns, and what fails.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from engines.bundle import Bundle
from pipeline.config.camera import Overload
from pipeline.config.line_file import check_config
from pipeline.config.sections import DecisionSection
from pipeline.flow.channel import Channel
from pipeline.flow.decided import Decided
from pipeline.flow.frame import Frame
from pipeline.line.batcher import Batch, BatchBuffers, Batcher
from pipeline.line.capture import Capture
from pipeline.line.decision import Decision
from pipeline.line.fair_queue import NEVER, FairQueue
from pipeline.line.inference import Inference, ScoredBatch
from pipeline.line.judge import Judge
from pipeline.line.ledger import Ledger
from pipeline.line.model import Model, ModelSlot
from pipeline.line.orders import Orders
from pipeline.line.service_time import ServiceTime
from pipeline.line.shadows import Shadows
from pipeline.publish.metrics import LineMetrics
from pipeline.sources.source import Source
from tests.simulation.world import GRACE_NS, VirtualClock, VirtualEngine, VirtualFailover

PICTURE = np.zeros((8, 8, 3), np.uint8)
# An answer waits in the line's last queue until a publisher takes it: at most so many at once.
_PUBLISHED_AT_ONCE = 256


class Arrival(NamedTuple):
    """A frame that comes.

    Attributes:
        at: monotonic nanoseconds.
        camera: its name.
        encoded: bytes that are no picture; empty for a good one.
    """

    at: int
    camera: str
    encoded: bytes = b""


class _Played(Source):
    """A camera whose frames the event loop brings."""

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        raise AssertionError("the event loop brings the frames")


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
        engine: VirtualEngine | VirtualFailover,
        clock: VirtualClock,
        cameras: dict[str, Overload],
        takt_ns: int | None,
        publish: Callable[[Sequence[Decided]], None],
    ) -> None:
        self.clock, self._publish, self._bundle = clock, publish, bundle
        # The one that runs, and those that were replaced until they have answered what they hold.
        self._engines: list[VirtualEngine | VirtualFailover] = []
        self._slot = slot = ModelSlot(self._model(engine))
        paused, metrics = threading.Event(), LineMetrics(list(cameras))
        self.answers: Channel[Decided] = Channel(1 << 30)
        self.ledger = Ledger(slot, list(cameras), self.answers, takt_ns, clock=clock)
        self.queue = FairQueue(cameras, engine.max_batch)
        self.service_time = ServiceTime(engine.max_batch, lambda: self.model.engine.batch_ns)
        values = {
            "model": {"bundle": str(bundle.path)},
            "camera": [{"name": name, "source": f"feed:ipc://{name}"} for name in cameras],
        }
        shadows = Shadows(check_config(values, "simulated"), slot, self.service_time, (self.queue,), clock)
        self.orders = Orders(slot, lambda _: self.model, [_Played(name) for name in cameras], paused, dict, shadows)
        self.buffers = BatchBuffers(engine.jobs + 1, engine.max_batch, engine.size, self._returned)
        self._free = engine.jobs + 1
        batches: Channel[Batch] = Channel(engine.jobs + 1)
        scored: Channel[ScoredBatch] = Channel(engine.jobs + 1)
        self._captures = {
            name: Capture(_Played(name), self.queue, self.ledger, metrics, threading.Event(), paused)
            for name in cameras
        }
        self.batcher = Batcher(self.queue, batches, self.buffers, self.ledger, self.service_time, clock, decoders=1)
        self.inference = Inference(slot, batches, scored, self.buffers, clock)
        self.decision = Decision(scored, self.ledger, self.service_time, metrics, clock)
        self._coming: list[Arrival] = []
        self._filled: deque[Batch] = deque()
        self._scored: deque[ScoredBatch] = deque()
        self._next = dict.fromkeys(cameras, 0)
        self._takt_ns, self._recent = takt_ns, deque[int]()
        self.most_waiting, self.most_overdue = 0, 0

    @property
    def model(self) -> Model:
        """What inspects the next batch."""
        return self._slot.current

    def deploy(self, engine: VirtualEngine | VirtualFailover) -> None:
        """Goes on with another engine, as after a deploy."""
        self._slot.swap(self._model(engine))

    def come(self, arrivals: Iterable[Arrival]) -> None:
        """Lets frames come, each at its time, which is not over yet."""
        for arrival in arrivals:
            heapq.heappush(self._coming, arrival)

    def run(self, until: int = 0) -> None:
        """Lets the time pass until then, and until everything that came is answered."""
        clock, coming = self.clock, self._coming
        clock.at(until, lambda: None)
        again: int | None = None
        while coming or len(self.ledger) or self._filled or self._scored or clock.now < until:
            moments = [again, self.ledger.next_moment(), clock.next_moment()]
            moments += [engine.next_moment() for engine in self._engines]
            moments.append(coming[0].at if coming else None)
            moments.append(self._patience() if self._filled else None)
            clock.now = max(clock.now, min(moment for moment in moments if moment is not None))
            clock.happen()
            self._step_engines()
            while coming and coming[0].at <= clock.now:
                self._capture(heapq.heappop(coming))
            again = self._batch()
            self._step_engines()
            self._answer()

    def _model(self, engine: VirtualEngine | VirtualFailover) -> Model:
        self._engines.append(engine)
        judge = Judge(self._bundle, engine, DecisionSection(heatmaps="none"), "virtual", self.clock)
        return Model(self._bundle, engine, judge)

    def _step_engines(self) -> None:
        for engine in self._engines:
            engine.step()
        if len(self._engines) > 1:
            self._engines = [engine for engine in self._engines if engine is self.model.engine or not engine.idle]
        while self._filled and (self._engines[-1].room or self.clock.now >= self._patience()):
            self._scored.append(self.inference.submit(self._filled.popleft()))
            self._engines[-1].step()
        while self._scored and self._scored[0].scores.done():
            self.decision.decide(self._scored.popleft())

    def _patience(self) -> int:
        """Until when the thread that hands batches over waits for a place in the engine."""
        deadlines = [frame.deadline for frame in self._filled[0].frames if frame.deadline is not None]
        return min(deadlines) + GRACE_NS if deadlines else NEVER

    def _capture(self, arrival: Arrival) -> None:
        sequence = self._next[arrival.camera]
        self._next[arrival.camera] = sequence + 1
        clock = self.clock
        image = None if arrival.encoded else PICTURE
        self._captures[arrival.camera].enter(
            Frame(arrival.camera, sequence, image, clock.wall_ns(), clock.now, arrival.encoded or None)
        )
        self._recent.append(clock.now)
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
                self._filled.append(batch)
                self._step_engines()
        return None

    def _returned(self, slot: int, failed: bool) -> None:
        if self.service_time.done(slot, self.clock.now, failed):
            self._free += 1

    def _answer(self) -> None:
        answers = self.ledger.step(self.clock.now)
        if self._takt_ns is not None:
            while self._recent and self._recent[0] < self.clock.now - self._takt_ns:
                self._recent.popleft()
            self.most_overdue = max(self.most_overdue, len(self.ledger) - len(self._recent))
        for start in range(0, len(answers), _PUBLISHED_AT_ONCE):
            self._publish(answers[start : start + _PUBLISHED_AT_ONCE])

    @property
    def captured(self) -> dict[str, int]:
        """How many frames came, by camera."""
        return dict(self._next)
