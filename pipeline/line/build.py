"""Builds a line from its settings, checking cheap things before it opens the engine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from engines.bundle import Bundle, open_bundle
from engines.closing import closed_on_error
from engines.engine import Engine
from engines.failover import FailoverEngine
from engines.registry import open_engine
from pipeline.config.line_file import LineConfig
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.closing import ClosingStack
from pipeline.journal.store import Journal
from pipeline.line.line import Line
from pipeline.line.model import EngineOpener
from pipeline.protocol.orders import control_address
from pipeline.publish.control import ControlServer
from pipeline.publish.health import HealthServer
from pipeline.publish.publisher import PublisherSocket
from pipeline.publish.replay_server import ReplayServer, ReplaySocket
from pipeline.security.curve import Access
from pipeline.sources import open_source
from pipeline.sources.source import Source


def build_line(
    config: LineConfig,
    *,
    sources: Sequence[Source] | None = None,
    opener: EngineOpener | None = None,
    watched: bool = False,
    clock: Clock = SYSTEM_CLOCK,
) -> Line:
    """Builds a line that is ready to start; close it, or use it as a context manager.

    Quick checks come first: names, sources, addresses and the journal. Opening the engine takes many seconds and comes
    last; subscribers can connect in the meantime.

    Args:
        config: the line's settings.
        sources: used instead of those that the cameras' addresses name.
        opener: opens an engine on a bundle, instead of those that `[model]` names.
        watched: whether `Line.decided` will be read; the line then waits for its reader.
        clock: tells the time to every stage.

    Raises:
        TaktlineError: one of its parts cannot be used; nothing is left open.
    """
    opener = opener or _configured_opener(config)
    bundle = open_bundle(config.model.bundle)
    made = ClosingStack()
    with closed_on_error(made):
        sources = _open_sources(config, clock, made) if sources is None else sources
        publisher, journal, replay = _bind_outlets(config, made, clock)
        health = _bind_health(config, made)
        control = _bind_control(config, made)
        engine = opener(bundle)
        made.add("the engine", engine.close)
        line = Line(
            config, bundle, engine, sources, publisher, open_engine=opener, journal=journal, replay=replay,
            health=health, control=control, watched=watched, clock=clock,
        )  # fmt: skip
    # The line closes them from now on.
    made.release()
    return line


def _open_sources(config: LineConfig, clock: Clock, made: ClosingStack) -> list[Source]:
    sources = []
    for camera in config.camera:
        sources.append(open_source(camera, clock))
        made.add(f"the camera {camera.name}", sources[-1].close)
    return sources


def _configured_opener(config: LineConfig) -> EngineOpener:
    """Returns an opener for the engine of `[model]`, with its fallback."""
    model = config.model
    names = [name for name in (model.engine, model.fallback) if name is not None]

    def open_one(bundle: Bundle, name: str) -> Engine:
        preferred = name == model.engine
        return open_engine(
            bundle,
            name,
            model.precision if preferred else "auto",
            model.max_batch,
            model.device if preferred else None,
            model.hint,
            config.decision.sigma,
            # When the line needs its fallback, there is no time to measure.
            measure=preferred,
        )

    return lambda bundle: FailoverEngine([partial(open_one, bundle, name) for name in names])


def _bind_health(config: LineConfig, made: ClosingStack) -> HealthServer | None:
    if config.health.bind is None:
        return None
    health = HealthServer(config.health.bind, config.health.insecure)
    made.add("the health server", health.close)
    return health


def _bind_control(config: LineConfig, made: ClosingStack) -> ControlServer | None:
    section = config.control
    if section.bind is None:
        return None
    address = control_address(config.line.name) if section.bind == "auto" else section.bind
    secret = None if section.allowed_clients is None else config.publish.curve_secret
    control = ControlServer(address, Access(secret, section.allowed_clients, section.insecure))
    made.add("the control server", control.close)
    return control


def _bind_outlets(
    config: LineConfig, made: ClosingStack, clock: Clock
) -> tuple[PublisherSocket, Journal | None, ReplayServer | None]:
    """Opens the publisher, the journal, and the replay if the settings ask for them."""
    publish = config.publish
    access = Access(publish.curve_secret, publish.allowed_clients, publish.insecure)
    publisher = PublisherSocket(publish.verdicts, publish.high_water_mark, access)
    made.add("the publisher's socket", publisher.close)
    if config.journal is None:
        return publisher, None, None
    journal = Journal(config.journal, clock)
    made.add("the journal", journal.close)
    if publish.replay is None:
        return publisher, journal, None
    replay = ReplayServer(ReplaySocket(publish.replay, access), journal)
    made.add("the replay", replay.close)
    return publisher, journal, replay
