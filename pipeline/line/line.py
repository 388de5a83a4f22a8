"""The line: connects the stages, starts, drains and closes them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial

from engines.bundle import Bundle
from engines.closing import Closable, Closing
from engines.engine import Engine
from engines.errors import LineDown
from pipeline.config.line_file import LineConfig
from pipeline.flow.channel import Channel, ChannelClosed
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.closing import ClosingStack, Countdown
from pipeline.flow.decided import Decided
from pipeline.flow.stage import Stage
from pipeline.journal.store import Journal
from pipeline.line.batcher import DECODERS, Batch, BatchBuffers, Batcher
from pipeline.line.capture import Capture
from pipeline.line.decision import Decision
from pipeline.line.fair_queue import FairQueue
from pipeline.line.inference import Inference, ScoredBatch
from pipeline.line.judge import Judge
from pipeline.line.ledger import Ledger
from pipeline.line.model import EngineOpener, Model, ModelSlot
from pipeline.line.orders import Orders
from pipeline.line.service_time import ServiceTime
from pipeline.line.shadows import Shadows
from pipeline.line.status import describe_line
from pipeline.publish.control import ControlServer
from pipeline.publish.drift_watch import open_watch
from pipeline.publish.gauges import LineGauges
from pipeline.publish.health import HealthServer
from pipeline.publish.metrics import LineMetrics, Status
from pipeline.publish.previews import PreviewMaker
from pipeline.publish.publisher import Publisher, PublisherSocket
from pipeline.publish.replay_server import ReplayServer
from pipeline.sources.source import Source

log = logging.getLogger(__name__)

# Counted from `drain`. Supervisors kill after ten seconds, and the process must end by itself before that.
_CLOSE_S = 8.5
# Part of that time, reserved for closing after the stages have ended.
_RESERVE_S = 3.0
_LEAST_S = 1.0
_ABORT_S = 0.5
_TICK_S = 0.2


class Line(Closing):
    """A line from its cameras to its socket. A context manager: leaving it closes everything that it was given.

    `start` lets frames in, `drain` asks the line to finish the frames in it, and `close` ends it within ten seconds of
    that, even if something hangs. `pipeline.line.build.build_line` makes a line from its settings.

    Args:
        config: its settings.
        bundle: the opened bundle that it starts with.
        engine: runs that bundle.
        sources: one for each camera of `config`, in any order.
        publisher: the socket for publishing verdicts.
        open_engine: opens an engine on a deployed bundle.
        journal: stores the verdicts; None for a line that forgets them.
        replay: answers subscribers from the journal.
        health: reports the line's state over HTTP.
        control: takes orders.
        watched: whether `decided` will be read; the line then waits for its reader.
        clock: tells the time to every stage.

    Attributes:
        orders: carries out orders.
        metrics: counts and measures.
        hung: names of parts that did not end and were left behind when the line was closed.
    """

    def __init__(
        self,
        config: LineConfig,
        bundle: Bundle,
        engine: Engine,
        sources: Sequence[Source],
        publisher: PublisherSocket,
        *,
        open_engine: EngineOpener,
        journal: Journal | None = None,
        replay: ReplayServer | None = None,
        health: HealthServer | None = None,
        control: ControlServer | None = None,
        watched: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.config, self.publisher, self.health, self.control = config, publisher, health, control
        self.hung: tuple[str, ...] = ()
        self._sources, self._clock = tuple(sources), clock
        self._journal, self._replay = journal, replay
        self._stop, self._paused, self._failing = threading.Event(), threading.Event(), threading.Lock()
        self._failure: tuple[str, BaseException] | None = None
        self._started, self._drained_at = False, float("inf")
        self._slot = ModelSlot(self._model(bundle, engine))
        takt_s = None if config.line.takt_ms is None else config.line.takt_ms / 1000
        self.metrics = LineMetrics([source.camera for source in self._sources], takt_s)
        self._wire(watched, takt_s)
        self.orders = Orders(
            self._slot, lambda other: self._model(other, open_engine(other)), self._sources, self._paused, self.status,
            self._shadows,
        )  # fmt: skip
        queues = {"frames": self._queue, "batches": self._batches, "scored": self._scored, "verdicts": self._decided}
        depths = {name: partial(getattr, queue, "depth") for name, queue in queues.items()}
        self.metrics.watch(LineGauges(self.status, depths, takt_s))
        self._parts = ClosingStack()
        for source in self._sources:
            self._parts.add(f"the camera {source.camera}", source.close)
        parts: list[tuple[str, Closable | None]] = [
            ("the publisher's socket", publisher), ("the journal", journal), ("the engine", self._slot),
            ("the shadow run", self._shadows), ("the replay", replay), ("the health server", health),
            ("the control server", control),
        ]  # fmt: skip
        for name, part in parts:
            if part is not None:
                self._parts.add(name, part.close)

    def _model(self, bundle: Bundle, engine: Engine) -> Model:
        judge = Judge(bundle, engine, self.config.decision, self.config.line.name, self._clock)
        return Model(bundle, engine, judge)

    def _wire(self, watched: bool, takt_s: float | None) -> None:
        config, clock, journal = self.config, self._clock, self._journal
        limit, jobs = self._slot.max_batch, self.model.engine.jobs
        cameras = {camera.name: camera.overload for camera in config.camera}
        self._queue = FairQueue(cameras, limit)
        service_time = self._service_time = ServiceTime(limit, lambda: self.model.engine.batch_ns, DECODERS)

        def returned(slot: int, failed: bool) -> None:
            service_time.done(slot, clock.monotonic_ns(), failed)
            self._queue.touch()

        self._buffers = BatchBuffers(jobs + 1, limit, self.model.bundle.size, returned)
        self._batches: Channel[Batch] = Channel(jobs, clock=clock)
        self._scored: Channel[ScoredBatch] = Channel(jobs + 1, clock=clock)
        self._decided: Channel[Decided] = Channel(4 * limit, clock=clock)
        self._watched: Channel[Decided] | None = Channel(4 * limit, clock=clock) if watched else None
        takt_ns = None if takt_s is None else round(takt_s * 1e9)
        self._ledger = Ledger(self._slot, list(cameras), self._decided, takt_ns, clock=clock)
        captures = [
            Capture(source, self._queue, self._ledger, self.metrics, self._stop, self._paused,
                    0 if journal is None else journal.first(source.camera))
            for source in self._sources
        ]  # fmt: skip
        self._watch = watch = open_watch(config, lambda: self.model.bundle, journal, clock)
        self._batcher = Batcher(self._queue, self._batches, self._buffers, self._ledger, service_time, clock, watch)
        self._shadows = Shadows(config, self._slot, service_time, (self._queue, self._batches), clock)
        rate, socket, offer = config.publish.previews, self.publisher, self._shadows.offer
        self._previews = PreviewMaker(rate, lambda: socket.wants_previews, clock) if rate else None
        # These bring answers out; a line has ended when they have.
        self._answering: list[Stage] = [
            self._ledger,
            Publisher(socket, self._decided, self._watched, self.metrics, journal, clock, self._previews, watch, offer),
            *([] if journal is None else journal.stages()),
        ]
        self._stages: list[Stage] = [
            *captures,
            self._batcher,
            Inference(self._slot, self._batches, self._scored, self._buffers, clock),
            Decision(self._scored, self._ledger, service_time, self.metrics, clock),
            *self._answering,
            *[stage for stage in (self._previews, watch) if stage is not None],
        ]

    @property
    def model(self) -> Model:
        """The bundle that will inspect the next batch, with its engine and judge."""
        return self._slot.current

    def start(self) -> None:
        """Starts the servers, waits for the required subscribers, then lets frames in.

        Raises:
            TaktlineError: too few subscribers came.
        """
        publish = self.config.publish
        if self.health is not None:
            self.health.start(self.status, self.metrics)
        if self.control is not None:
            self.control.start(self.orders.obey, self._failed)
        if self._replay is not None:
            self._replay.start(self._failed)
        if publish.await_subscribers:
            self.publisher.await_subscribers(publish.await_subscribers, publish.await_s, self._stop)
        for stage in reversed(self._stages):
            stage.start(self._failed)
        self._started = True

    def status(self) -> Status:
        """Returns the state of the line: see `describe_line`; also its earlier bundles, newest first, and more."""
        places = {"verdicts": self.publisher.address, "replay": self._replay.address if self._replay else None}
        return describe_line(
            self.config, places, self.model, self._sources, self.metrics, self._journal, self._service_time,
            self._batcher, live=self._failure is None, started=self._started, paused=self._paused.is_set(),
        ) | {
            "earlier_bundles": [bundle.short_id for bundle in reversed(self._slot.earlier)],
            "previews": None if self._previews is None else self._previews.status(),
            "drift": None if self._watch is None else self._watch.status(),
            "shadow": self._shadows.status(),
        }  # fmt: skip

    def drain(self) -> None:
        """Asks the sources to end; frames in the line still get their verdicts. Returns at once."""
        self._drained_at = min(self._drained_at, time.monotonic())
        self._stop.set()
        self._ledger.drain()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until every frame is answered and published, and returns whether that is the case.

        If the line was drained, it waits no longer than closing may take.

        Raises:
            LineDown: a stage failed and took the line down.
        """
        until = float("inf") if timeout is None else time.monotonic() + timeout
        for stage in self._answering:
            while not stage.join(max(0.0, min(_TICK_S, until - time.monotonic()))):
                if time.monotonic() >= until or self._overdue():
                    return False
        self._raise_failure()
        return True

    def decided(self) -> Iterator[Decided]:
        """Yields every frame with its verdict, after publishing, until the line ends.

        Raises:
            LineDown: a stage failed and took the line down.
        """
        assert self._watched is not None, "build the line with watched=True"
        while not self._overdue():
            try:
                yield self._watched.get(_TICK_S)
            except TimeoutError:
                continue
            except ChannelClosed:
                break
        self._raise_failure()

    def close(self, deadline: float | None = None) -> None:
        """Drains the line, ends its threads and closes what it was given, in reverse order.

        Args:
            deadline: seconds it may take, counted from `drain` if that came first; None for 8.5. Parts that hang longer
                are logged, left behind on a daemon thread, and named in `hung`.
        """
        self.drain()
        spent = time.monotonic() - self._drained_at
        seconds = max(_LEAST_S, (_CLOSE_S if deadline is None else deadline) - spent)
        countdown, reserve = Countdown(seconds), min(_RESERVE_S, seconds / 2)
        if self.control is not None:
            self.control.drain()
        if self._watched is not None:
            self._watched.abort()
        hung = []
        if not all(stage.join(countdown.left(reserve)) for stage in self._stages):
            self._abort()
            self._decided.abort()
            for stage in self._stages:
                stage.drain()
            aborted = Countdown(_ABORT_S)
            hung = [stage.name for stage in self._stages if not stage.join(aborted.left())]
            if hung:
                log.error("these stages hang and are left behind: %s", ", ".join(hung))
        self.hung += (*hung, *self._parts.close_within(countdown.left()))

    def _overdue(self) -> bool:
        return time.monotonic() > self._drained_at + _CLOSE_S - _RESERVE_S

    def _failed(self, name: str, error: BaseException) -> None:
        with self._failing:
            if self._failure is None:
                self._failure = (name, error)
        log.error("the stage %s failed: %s: %s", name, type(error).__name__, error)
        self._abort()
        if name in {"ledger", "publisher"}:
            self._decided.abort()

    def _abort(self) -> None:
        """Stops everything before the ledger, which answers the frames in the line."""
        self._stop.set()
        for part in (self._queue, self._buffers, self._batches, self._scored, self._ledger):
            part.abort()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            name, error = self._failure
            raise LineDown(
                f"the line went down: its stage '{name}' failed ({type(error).__name__}: {error})"
            ) from error
