"""Counts and measurements of a running line, for Prometheus and for its status."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from pipeline.protocol.verdict import Reason, Verdict

Status = dict[str, Any]

STEPS = ("queue", "infer", "decide", "publish", "total")
_LATENCY_S = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0,
)  # fmt: skip
_SIGMA = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0)
_OUTCOMES = (("ok", ""), ("ng", ""), *(("uninspected", reason) for reason in get_args(Reason)))
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class LineMetrics:
    """Counts frames and verdicts and measures latencies, in a registry of the line's own.

    Values that can be read at any moment, such as a queue's depth, are not kept here: `watch` registers a collector
    that reads them at each scrape.

    Args:
        cameras: names of the cameras.
        takt_s: becomes a bound of the latency histograms, so that the share of verdicts within it is exact; None for
            a line without a takt.

    Attributes:
        registry: holds all metrics of the line.
    """

    def __init__(self, cameras: Sequence[str], takt_s: float | None = None) -> None:
        self.registry = CollectorRegistry()
        self._all_frames = Counter("taktline_frames", "Frames captured.", ["camera"], registry=self.registry)
        self._all_verdicts = Counter(
            "taktline_verdicts", "Verdicts published.", ["camera", "verdict", "reason"], registry=self.registry
        )
        latency = Histogram(
            "taktline_latency_seconds",
            "Time a frame spent in a step of the line; total is from capture to the socket.",
            ["step"],
            buckets=sorted({*_LATENCY_S, *(() if takt_s is None else (takt_s,))}),
            registry=self.registry,
        )
        self._score = Histogram(
            "taktline_score_sigma", "Scores of inspected frames, in sigma.", buckets=_SIGMA, registry=self.registry
        )
        self._batch = Histogram("taktline_batch_frames", "Frames in a batch.", buckets=_BATCHES, registry=self.registry)
        self._rescored = Counter(
            "taktline_rescored_frames", "Frames scored again in float32, near the threshold.", registry=self.registry
        )
        ProcessCollector(registry=self.registry)
        # A series that exists from the start counts from 0, so a rate over it sees even the first event. Looking up a
        # child takes longer than counting, so it is done once.
        self._frames = {camera: self._all_frames.labels(camera) for camera in cameras}
        self._verdicts = {
            camera: {outcome: self._all_verdicts.labels(camera, *outcome) for outcome in _OUTCOMES}
            for camera in cameras
        }
        self._steps = [latency.labels(step) for step in STEPS]
        self._last: dict[str, float | None] = dict.fromkeys(cameras)

    def captured(self, camera: str) -> None:
        """Counts a captured frame."""
        self._frames[camera].inc()
        self._last[camera] = time.monotonic()

    def published(self, verdict: Verdict) -> None:
        """Counts a published verdict, its latencies and its score."""
        self._verdicts[verdict.camera][verdict.verdict, verdict.reason or ""].inc()
        latency = verdict.latency
        times = (latency.queue, latency.infer, latency.decide, latency.publish, latency.total)
        for step, nanoseconds in zip(self._steps, times, strict=True):
            step.observe(nanoseconds / 1e9)
        if verdict.score is not None:
            self._score.observe(verdict.score)

    def scored(self, frames: int, rescored: int) -> None:
        """Counts a batch that came back from the engine, and its frames that had a second look."""
        self._batch.observe(frames)
        if rescored:
            self._rescored.inc(rescored)

    def watch(self, collector: Collector) -> None:
        """Registers a collector that is read at each scrape."""
        self.registry.register(collector)

    def status(self) -> dict[str, Status]:
        """Returns each camera's counts, and the seconds since its last frame (None before the first)."""
        now = time.monotonic()
        found: dict[str, Status] = {
            camera: {"frames": 0, "verdicts": {}, "last_frame_s": None if last is None else round(now - last, 3)}
            for camera, last in self._last.items()
        }
        for labels, count in _counts(self._all_frames):
            found[labels["camera"]]["frames"] = count
        for labels, count in _counts(self._all_verdicts):
            if count:
                found[labels["camera"]]["verdicts"][labels["reason"] or labels["verdict"]] = count
        return found

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Returns all metrics in the scraper's format, and their content type.

        Args:
            accept: the scraper's `Accept` header.
        """
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


def _counts(counter: Counter) -> Iterator[tuple[dict[str, str], int]]:
    for metric in counter.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total"):
                yield sample.labels, int(sample.value)
