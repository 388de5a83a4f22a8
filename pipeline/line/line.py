"""The line: wires the stages, starts them, and stops them with everything drained."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from engines.bundle import Bundle, open_bundle
from engines.closing import Closing
from engines.engine import Engine
from engines.errors import ConfigError, LineDown
from engines.failover import FailoverEngine
from engines.registry import open_engine
from pipeline.config.line_file import LineConfig
from pipeline.flow.channel import Channel, ChannelClosed
from pipeline.flow.decided import Decided
from pipeline.flow.stage import Stage
from pipeline.line.batcher import DECODERS, Batch, BatchBuffers, Batcher
from pipeline.line.capture import Capture
from pipeline.line.decision import Decision
from pipeline.line.fair_queue import FairQueue
from pipeline.line.inference import Inference, ScoredBatch
from pipeline.line.judge import Judge
from pipeline.line.ledger import Ledger
from pipeline.line.service_time import ServiceTime
from pipeline.protocol.orders import Answer, Order, control_address
from pipeline.publish.control import ControlServer
from pipeline.publish.delivery import Delivery
from pipeline.publish.gauges import LineGauges
from pipeline.publish.health import HealthServer
from pipeline.publish.metrics import LineMetrics, Status
from pipeline.security.curve import Access
from pipeline.sources import open_source

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
        self._stop, self._paused = threading.Event(), threading.Event()
        self._failure: tuple[str, Exception] | None = None
        self._failing = threading.Lock()
        self._stages: list[Stage] = []
        # Bound before the engine loads: subscribers find their way in while it warms.
        self.delivery = Delivery(config.publish, config.journal)
        self.socket = self.delivery.socket
        try:
            self.engine = self._keep_engine(self.bundle)
        except BaseException:
            self.delivery.close()
            raise
        self.judge = Judge(self.bundle, self.engine, config.decision, config.line.name)
        self._wire(watched)
        self._started = False
        self._deploying = threading.Lock()
        self.health: HealthServer | None = None
        self.control: ControlServer | None = None
        health, orders = config.health, config.control.bind
        try:
            if health.bind is not None:
                self.health = HealthServer(health.bind, self.status, self.metrics, health.insecure)
            if orders is not None:
                address = control_address(config.line.name) if orders == "auto" else orders
                clients = config.control.allowed_clients
                secret = None if clients is None else config.publish.curve_secret
                access = Access(secret, clients, config.control.insecure)
                self.control = ControlServer(address, self._obey, self._stage_failed, access)
        except BaseException:
            self._free()
            raise

    def _keep_engine(self, bundle: Bundle) -> Engine:
        model = self.config.model
        names = [name for name in (model.engine, model.fallback) if name is not None]
        return FailoverEngine([partial(self._open_engine, bundle, name) for name in names])

    def _open_engine(self, bundle: Bundle, name: str) -> Engine:
        model = self.config.model
        preferred = name == model.engine
        return open_engine(
            bundle,
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
        self._intake = FairQueue(cameras, limit)
        service_time = ServiceTime(limit, self.engine.batch_ns, DECODERS)

        def returned(slot: int, failed: bool) -> None:
            service_time.done(slot, time.monotonic_ns(), failed)
            self._intake.touch()

        self._buffers = BatchBuffers(jobs + 1, limit, self.bundle.size, returned)
        batches: Channel[Batch] = Channel(jobs)
        scored: Channel[ScoredBatch] = Channel(jobs + 1)
        self._decided: Channel[Decided] = Channel(4 * limit)
        self._watched: Channel[Decided] | None = Channel(4 * limit) if watched else None
        self._channels: tuple[Channel[Any], ...] = (batches, scored)
        takt_ns = None if takt_ms is None else round(takt_ms * 1e6)
        self._ledger = Ledger(self.judge, list(cameras), self._decided, takt_ns)
        takt_s = None if takt_ms is None else takt_ms / 1000
        self.metrics = LineMetrics(list(cameras), takt_s)
        first = self.delivery.first
        self._captures = [
            Capture(source, self._intake, self._ledger, self.metrics, self._stop, self._paused, first(source.camera))
            for source in self._sources
        ]
        self._inference = Inference(self.engine, self.judge, batches, scored, self._buffers)
        self._stages = [
            *self._captures,
            Batcher(self._intake, batches, self._buffers, self._ledger, service_time),
            self._inference,
            Decision(scored, self._ledger, service_time, self.metrics),
            self._ledger,
            *self.delivery.stages(self._decided, self._watched, self.metrics),
        ]
        depths = {
            "frames": lambda: self._intake.depth,
            "batches": lambda: batches.depth,
            "scored": lambda: scored.depth,
            "verdicts": lambda: self._decided.depth,
        }
        self.metrics.watch(LineGauges(self.status, depths, takt_s))

    def start(self) -> None:
        """Waits for the subscribers that were asked for, then lets the frames in."""
        publish = self.config.publish
        self.delivery.start(self._stage_failed)
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
        counts = self.metrics.status()
        cameras = {source.camera: counts[source.camera] | {"trouble": source.trouble} for source in self._sources}
        why_not = [f"camera {name}: {state['trouble']}" for name, state in cameras.items() if state["trouble"]]
        if self._paused.is_set():
            why_not.append("the line is paused")
        if not self._started:
            why_not.append("the line has not started yet")
        engine_up = not isinstance(self.engine, FailoverEngine) or self.engine.inner is not None
        if not engine_up:
            why_not.append(f"the engine {self.engine.name} failed and is being opened again")
        live = self._failure is None
        return {
            "line": self.config.line.name,
            "live": live,
            "ready": live and not why_not,
            "why_not": why_not,
            "engine": {
                "name": self.engine.name,
                "precision": self.engine.precision,
                "device": self.engine.device_name,
                "up": engine_up,
                "failovers": self.engine.failovers if isinstance(self.engine, FailoverEngine) else 0,
            },
            "bundle": self.bundle.short_id,
            "threshold": self.judge.threshold,
            "cameras": cameras,
            "journal": self.delivery.status(),
        }

    def deploy(self, path: Path) -> None:
        """Puts another bundle in the place of the one that runs.

        It is loaded, checked and warmed beside it; then the line switches between two batches. No frame is lost, and
        where anything is wrong with it nothing changes.

        Raises:
            TaktlineError: it cannot be used.
        """
        with self._deploying:
            bundle = open_bundle(path)
            if bundle.size != self.bundle.size:
                raise ConfigError(
                    f"{path} takes pictures of {bundle.size[1]} x {bundle.size[0]} and the line makes "
                    f"{self.bundle.size[1]} x {self.bundle.size[0]}; start the line anew with it"
                )
            engine = self._keep_engine(bundle)
            if engine.max_batch < self._buffers.max_batch:
                engine.close()
                raise ConfigError(
                    f"{path} runs in batches of {engine.max_batch} only here; start the line anew with it"
                )
            judge = Judge(bundle, engine, self.config.decision, self.config.line.name)
            retired = self.engine
            self._inference.swap(engine, judge)
            self.bundle, self.engine, self.judge = bundle, engine, judge
            self._ledger.use(judge)
            retired.close()
        log.warning("the line goes on with the bundle %s (%s)", path, bundle.short_id)

    def set_threshold(self, threshold: float) -> None:
        """Changes the threshold, in sigma, until another bundle is deployed."""
        with self._deploying:
            self.engine.set_threshold(threshold)
            self.judge.threshold = threshold

    def pause(self) -> None:
        """Answers for frames that come without inspecting them: `uninspected`, reason `dropped`."""
        self._paused.set()

    def resume(self) -> None:
        """Inspects again."""
        self._paused.clear()

    def trigger(self, camera: str, part: str | None = None) -> None:
        """Asks a camera for a picture, whose verdict will carry the part's id.

        Raises:
            TaktlineError: the line has no such camera, or it takes no triggers.
        """
        for source in self._sources:
            if source.camera == camera:
                source.trigger(part)
                return
        names = ", ".join(source.camera for source in self._sources)
        raise ConfigError(f"the line has no camera '{camera}'; it has {names}")

    def _obey(self, order: Order) -> Answer:
        if order.do == "deploy" and order.bundle is not None:
            self.deploy(Path(order.bundle))
        elif order.do == "threshold" and order.threshold is not None:
            self.set_threshold(order.threshold)
        elif order.do == "pause":
            self.pause()
        elif order.do == "resume":
            self.resume()
        elif order.do == "trigger" and order.camera is not None:
            self.trigger(order.camera, order.part)
            # Short, as the next part is on its way.
            return {}
        elif order.do != "status":
            raise ConfigError(f"the order {order.do} lacks what it is about")
        return {"status": self.status()}

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
        self._free()

    def _free(self) -> None:
        for server in (self.control, self.health):
            if server is not None:
                server.close()
        self.engine.close()
        self.delivery.close()

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
