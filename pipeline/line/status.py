"""Describes a line as plain values: what it runs, what it counted, and why it is not ready."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.choice import Choice
from engines.failover import FailoverEngine
from pipeline.config.line_file import LineConfig
from pipeline.journal.store import Journal
from pipeline.line.batcher import Batcher
from pipeline.line.model import Model
from pipeline.line.service_time import ServiceTime
from pipeline.publish.metrics import LineMetrics, Status
from pipeline.sources.source import Source


def describe_line(
    config: LineConfig,
    places: dict[str, str | None],
    model: Model,
    sources: Sequence[Source],
    metrics: LineMetrics,
    journal: Journal | None,
    service_time: ServiceTime,
    batcher: Batcher,
    *,
    live: bool,
    started: bool,
    paused: bool,
) -> Status:
    """Returns the state of a line as plain values.

    `live` is true until the line has gone down. `ready` is true while it inspects: it has started, its engine runs, and
    every camera gives frames. `why_not` has a sentence for each condition that is not met. `engine.choice` is what
    `auto` measured, with a sentence in `trouble` if the engine runs much slower now; None if `auto` did not choose.
    `places` says where programs on this machine find its verdicts, its replay, its journal and its bundle.
    """
    counts = metrics.status()
    cameras = {
        source.camera: counts[source.camera]
        | {"trouble": source.trouble, "reconnects": source.reconnects, "lost_frames": source.lost_frames}
        for source in sources
    }
    why_not = [f"camera {name}: {state['trouble']}" for name, state in cameras.items() if state["trouble"]]
    if batcher.trouble is not None:
        why_not.append(batcher.trouble)
    if paused:
        why_not.append("the line is paused")
    if not started:
        why_not.append("the line has not started yet")
    engine = model.engine
    supervised = engine if isinstance(engine, FailoverEngine) else None
    if supervised is not None and supervised.trouble is not None:
        why_not.append(supervised.trouble)
    return {
        "line": config.line.name,
        "live": live,
        "ready": live and not why_not,
        "why_not": why_not,
        "engine": {
            "name": engine.name,
            "precision": engine.precision,
            "device": engine.device_name,
            "up": supervised is None or supervised.state == "running",
            "failovers": 0 if supervised is None else supervised.failovers,
            "choice": _choice(engine.choice, service_time),
        },
        "bundle": model.bundle.short_id,
        "threshold": model.judge.threshold,
        "decision": config.decision.model_dump(mode="json"),
        "takt_ms": config.line.takt_ms,
        "paused": paused,
        "places": places | {"journal": _journal(config), "bundle": str(model.bundle.path.resolve())},
        "cameras": cameras,
        "journal": None if journal is None else journal.status(),
    }


def _journal(config: LineConfig) -> str | None:
    return None if config.journal is None else str(Path(config.journal.path).resolve())


def _choice(choice: Choice | None, service_time: ServiceTime) -> Status | None:
    if choice is None:
        return None
    return choice.to_json() | {"trouble": choice.trouble(service_time.measured(choice.batch))}
