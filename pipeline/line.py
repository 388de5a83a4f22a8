"""The line: wires the stages, starts them, and stops them with everything drained."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from engines.bundle import open_bundle
from engines.closing import Closing
from engines.engine import Engine
from engines.errors import LineDown
from engines.kept import KeptEngine
from engines.registry import open_engine
from pipeline.batcher import Batch, BatchBuffers, Batcher
from pipeline.capture import Capture
from pipeline.channel import Channel, ChannelClosed
from pipeline.config import LineConfig
from pipeline.decision import Decision
from pipeline.delivery.publisher import Publisher, PublisherSocket
from pipeline.health import HealthServer, Status, Tally
from pipeline.inference import Inference, ScoredBatch
from pipeline.intake import Intake
from pipeline.judge import Decided, Judge
from pipeline.ledger import Ledger
from pipeline.pace import Pace
from pipeline.sources import open_source
from pipeline.stage import Stage

log = logging.getLogger(__name__)

_JOIN_S = 30.0


class Line(Closing):
    """A line from its cameras to its socket. A context manager: leaving it stops the line and frees everything.

    Opening it checks the settings, the bundle and the sources, binds the socket and warms the engine; `start` lets
    the frames in.

    Args:
        config: what it is made of.
        watched: whether `decided` will be read; the line then waits for its reader.

    Raises:
        TaktlineError: something it is made of cannot be used.
    """

    def __init__(self, config: LineConfig, watched: bool = False) -> None:
        self.config = config
        self.bundle = open_bundle(config.model.bundle)
        self._sources = [open_source(camera) for camera in config.camera]
        self._stop = threading.Event()
        self._failure: tuple[str, Exception] | None = None
        self._failing = threading.Lock()
        self._stages: list[Stage] = []
        # Bound before the engine loads: subscribers find their way in while it warms.
        self.socket = PublisherSocket(config.publish.verdicts)
        try:
            model = config.model
            self.engine: Engine = KeptEngine(
                [partial(self._open_engine, name) for name in (model.engine, model.fallback) if name is not None]
            )
        except BaseException:
            self.socket.close()
            raise
        self.judge = Judge(self.bundle, self.engine, config.decision, config.line.name)
        self._wire(watched)
        self._started = False
        bind = config.metrics.bind
        try:
            self.health = None if bind is None else HealthServer(bind, self.status)
        except BaseException:
            self.engine.close()
            self.socket.close()
            raise

    def _open_engine(self, name: str) -> Engine:
        model = self.config.model
        preferred = name == model.engine
        return open_engine(
            self.bundle,
            name,
            model.precision if preferred else "auto",
            model.max_batch,
            model.device if preferred else None,
            model.hint,
            self.config.decision.sigma,
        )

    def _wire(self, watched: bool) -> None:
        limit, jobs = self.engine.max_batch, self.engine.jobs
        takt_ms = self.config.line.takt_ms
        cameras = {camera.name: camera.overload for camera in self.config.camera}
        self._intake = Intake(cameras, limit)
        self._buffers = BatchBuffers(jobs + 1, limit, self.bundle.size, self._intake.changed)
        batches: Channel[Batch] = Channel(jobs)
        scored: Channel[ScoredBatch] = Channel(jobs + 1)
        self._decided: Channel[Decided] = Channel(4 * limit)
        self._watched: Channel[Decided] | None = Channel(4 * limit) if watched else None
        self._channels: tuple[Channel[Any], ...] = (batches, scored)
        takt_ns = None if takt_ms is None else round(takt_ms * 1e6)
        self._ledger = Ledger(self.judge, list(cameras), self._decided, takt_ns)
        pace = Pace()
        self._tally = Tally(list(cameras))
        self._captures = [
            Capture(source, self._intake, self._ledger, self._tally, self._stop) for source in self._sources
        ]
        self._stages = [
            *self._captures,
            Batcher(self._intake, batches, self._buffers, self._ledger, pace),
            Inference(self.engine, batches, scored, self._buffers),
            Decision(self.judge, scored, self._ledger, pace),
            self._ledger,
            Publisher(self.socket, self._decided, self._watched, self._tally),
        ]

    def start(self) -> None:
        """Waits for the subscribers that were asked for, then lets the frames in."""
        publish = self.config.publish
        if publish.await_subscribers:
            self.socket.await_subscribers(publish.await_subscribers, publish.await_s, self._stop)
        for stage in reversed(self._stages):
            stage.start(self._stage_failed)
        self._started = True

    def status(self) -> Status:
        """Returns how the line is, in plain values.

        `live` as long as it has not gone down; `ready` while it inspects: it was started, its engine runs, and every
        camera gives frames. `why_not` has a sentence for each that is missing.
        """
        cameras = {
            source.camera: self._tally.of(source.camera) | {"trouble": source.trouble} for source in self._sources
        }
        why_not = [f"camera {name}: {state['trouble']}" for name, state in cameras.items() if state["trouble"]]
        if not self._started:
            why_not.append("the line has not started yet")
        if isinstance(self.engine, KeptEngine) and self.engine.inner is None:
            why_not.append(f"the engine {self.engine.name} failed and is being opened again")
        live = self._failure is None
        return {
            "line": self.config.line.name,
            "live": live,
            "ready": live and not why_not,
            "why_not": why_not,
            "engine": {"name": self.engine.name, "precision": self.engine.precision, "device": self.engine.device},
            "bundle": self.bundle.short_id,
            "threshold": self.judge.threshold,
            "cameras": cameras,
        }

    def stop(self) -> None:
        """Asks the sources to end; frames that are in the line still get their verdicts."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the line to end and tells whether it has.

        Raises:
            LineDown: a stage failed and took the line down.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        for stage in self._stages:
            if not stage.join(None if deadline is None else max(0.0, deadline - time.monotonic())):
                return False
        self._raise_failure()
        return True

    def decided(self) -> Iterator[Decided]:
        """Yields every frame with its verdict after it was published, until the line ends.

        Raises:
            LineDown: a stage failed and took the line down.
        """
        assert self._watched is not None, "open the line with watched=True"
        while True:
            try:
                yield self._watched.get()
            except ChannelClosed:
                self._raise_failure()
                return

    def close(self) -> None:
        """Stops the line and frees its threads, engine and socket."""
        self.stop()
        if self._watched is not None:
            self._watched.abort()
        if not all(stage.join(_JOIN_S) for stage in self._stages):
            self._break_off()
            self._decided.abort()
            alive = [stage.name for stage in self._stages if not stage.join(1.0)]
            if alive:
                log.error("these stages did not end: %s", ", ".join(alive))
        if self.health is not None:
            self.health.close()
        self.engine.close()
        self.socket.close()

    def _stage_failed(self, name: str, error: Exception) -> None:
        with self._failing:
            if self._failure is None:
                self._failure = (name, error)
        log.error("the stage %s failed: %s: %s", name, type(error).__name__, error)
        self._break_off()
        if name in {"ledger", "publisher"}:
            self._decided.abort()

    def _break_off(self) -> None:
        """Stops everything before the ledger, which answers for the frames that are in the line."""
        self._stop.set()
        self._intake.abort()
        self._buffers.abort()
        for channel in self._channels:
            channel.abort()
        self._ledger.break_off()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            name, error = self._failure
            raise LineDown(
                f"the line went down: its stage '{name}' failed ({type(error).__name__}: {error})"
            ) from error
