"""Metrics that a scrape reads from a running line: its state, queues, cameras, engine and journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import metadata

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pipeline.publish.metrics import Status

Depths = Mapping[str, Callable[[], int]]


class LineGauges(Collector):
    """Turns a line's status into metrics at each scrape.

    Args:
        status: returns what `Line.status` returns.
        depths: for each queue of the line, returns its number of items.
        takt_s: the line's takt; None for a line without one.
    """

    def __init__(self, status: Callable[[], Status], depths: Depths, takt_s: float | None = None) -> None:
        self._status, self._depths, self._takt_s = status, depths, takt_s

    def describe(self) -> list[Metric]:
        """Names no metric in advance: registering must not ask a line for its status while it is being built."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics."""
        status = self._status()
        yield _info("taktline_build", "What runs.", version=_version(), line=status["line"], bundle=status["bundle"])
        yield _gauge("taktline_live", "1 until the line has gone down.", status["live"])
        yield _gauge("taktline_ready", "1 while the line inspects every camera's frames.", status["ready"])
        yield _gauge("taktline_threshold_sigma", "Scores above it are ng.", status["threshold"])
        if self._takt_s is not None:
            yield _gauge("taktline_takt_seconds", "The time a frame's verdict may take.", self._takt_s)
        yield self._queues()
        yield from _cameras(status["cameras"])
        yield from _engine(status["engine"])
        if status.get("drift") is not None:
            yield from _drift(status["drift"])
        if status["journal"] is not None:
            yield from _journal(status["journal"])

    def _queues(self) -> Metric:
        family = GaugeMetricFamily("taktline_queue_depth", "Items that wait in a queue.", labels=["queue"])
        for name, depth in self._depths.items():
            family.add_metric([name], depth())
        return family


def _cameras(cameras: Mapping[str, Status]) -> Iterator[Metric]:
    up = GaugeMetricFamily("taktline_camera_up", "1 while a camera gives frames.", labels=["camera"])
    age = GaugeMetricFamily(
        "taktline_camera_last_frame_seconds", "Time since a camera's last frame.", labels=["camera"]
    )
    reconnects = CounterMetricFamily("taktline_camera_reconnects", "Times a camera was reopened.", labels=["camera"])
    lost = CounterMetricFamily("taktline_camera_lost_frames", "Frames lost before they came in.", labels=["camera"])
    for name, camera in cameras.items():
        up.add_metric([name], camera["trouble"] is None)
        if camera["last_frame_s"] is not None:
            age.add_metric([name], camera["last_frame_s"])
        # Only live cameras are reopened, and only some number their frames.
        for family, key in ((reconnects, "reconnects"), (lost, "lost_frames")):
            if camera[key] is not None:
                family.add_metric([name], camera[key])
    yield from (up, age, reconnects, lost)


def _drift(drift: Status) -> Iterator[Metric]:
    labels = ["camera", "quantity"]
    level = GaugeMetricFamily(
        "taktline_drift_level", "How far good parts lie from those of calibration, in their standard deviations.",
        labels=labels,
    )  # fmt: skip
    moved = GaugeMetricFamily("taktline_drift_moved", "1 while good parts look different.", labels=labels)
    parts = CounterMetricFamily("taktline_drift_parts", "Parts that the drift watch looked at.", labels=["camera"])
    for name, camera in drift["cameras"].items():
        parts.add_metric([name], camera["looked_at"])
        away = {found["quantity"] for found in camera["moved"]}
        for quantity, value in camera["levels"].items():
            level.add_metric([name, quantity], value)
            moved.add_metric([name, quantity], quantity in away)
    yield from (level, moved, parts)


def _engine(engine: Status) -> Iterator[Metric]:
    yield _info("taktline_engine", "The engine that runs.",
                engine=engine["name"], precision=engine["precision"], device=engine["device"])  # fmt: skip
    yield _gauge("taktline_engine_up", "1 while the engine runs; 0 while it is being reopened.", engine["up"])
    yield _counter("taktline_engine_failovers", "Times an engine was reopened or replaced.", engine["failovers"])


def _journal(journal: Status) -> Iterator[Metric]:
    yield _gauge(
        "taktline_journal_up", "1 while verdicts are journaled before they are published.", journal["trouble"] is None
    )
    yield _counter("taktline_journal_verdicts", "Verdicts journaled before they were published.", journal["journaled"])
    yield _counter("taktline_journal_late_verdicts", "Verdicts published before they were journaled.",
                   journal["unjournaled"])  # fmt: skip
    yield _counter("taktline_journal_lost_verdicts", "Published verdicts the journal will never hold.", journal["lost"])
    yield _gauge("taktline_journal_waiting_verdicts", "Verdicts in memory that wait for the disk.", journal["waiting"])
    yield _gauge("taktline_journal_lag_seconds", "Age of the oldest waiting verdict.", journal["lag_s"])
    retention = journal["retention"]
    yield _gauge("taktline_journal_retention_up", "1 while retention works.", retention["trouble"] is None)
    if retention["free_bytes"] is not None:
        yield _gauge("taktline_journal_disk_free_bytes", "Free space on the journal's disk.", retention["free_bytes"])
    pictures = CounterMetricFamily("taktline_pictures", "Pictures for the journal.", labels=["outcome"])
    for outcome in ("kept", "dropped"):
        pictures.add_metric([outcome], journal["pictures"][outcome])
    yield pictures


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, float(value))


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, float(value))


def _info(name: str, text: str, **labels: str) -> Metric:
    return InfoMetricFamily(name, text, labels)


def _version() -> str:
    try:
        return metadata.version("taktline")
    except metadata.PackageNotFoundError:
        return "unknown"
