"""Loads a line steadily for a long time, and measures what grows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure.dashboard_process import PREVIEWS_PER_S, DashboardProcess
from bench.measure.engine import Report
from bench.measure.line import Play
from bench.measure.line_suite import LineSettings, loaded_line
from bench.measure.machine import peak_memory_mb
from bench.report.histogram import LatencyHistogram
from bench.report.results import Run, Sample, StoredWindow
from bench.report.windows import Window
from engines.errors import ConfigError
from engines.extras import require

# At first, caches fill and allocators settle; growth during that time is not a leak.
_SETTLING_SHARE = 0.2
_LEAST_SAMPLES = 10
# Without a dashboard only latency is measured, and whether something grows takes longer. Half of it comes before the
# dashboard and half after it, so that a machine that grows slower or faster meanwhile favours neither.
_ALONE_SHARE = 0.25


@dataclass(frozen=True)
class SoakReport:
    """The run, its samples, and figures derived from them.

    Attributes:
        run: the figures of all frames together.
        samples: samples of the line's process, in order.
        figures: by name; see bench/README.md.
    """

    run: Run
    samples: tuple[Sample, ...]
    figures: dict[str, float]


def soak_line(settings: LineSettings, rate: float, minutes: float, report: Report, browsers: int = 0) -> SoakReport:
    """Loads a line steadily and samples its process repeatedly.

    Args:
        settings: what to measure; `seconds` is the time between two samples.
        rate: frames per second.
        minutes: length of the run.
        report: called with the progress.
        browsers: number of browsers that look at a dashboard for the middle three quarters of the run; 0 for no
            dashboard. On a line, they run on other machines; here the line has its cores to itself, where there are two
            or more.

    Raises:
        ConfigError: the run is too short, or the schedule is recorded.
        TaktlineError: a package or the browser is not installed, or the line or the dashboard ended.
    """
    psutil = require("psutil", "bench")
    if isinstance(settings.arrivals, Path) or minutes * 60 < settings.seconds:
        raise ConfigError("a soak needs a rate, not a recorded schedule, and must be longer than one sample")
    count = max(1, round(minutes * 60 / settings.seconds))
    samples: list[Sample] = []
    windows: list[Window] = []
    verdicts: Counter[str] = Counter()
    # Every stretch has its own seed, so that random arrivals differ.
    stretches = [replace(settings, warm_up=0.0, seed=settings.seed + number) for number in range(count)]
    if browsers:
        settings = replace(settings, previews=PREVIEWS_PER_S)
    looked_at = range(round(_ALONE_SHARE / 2 * count), round((1 - _ALONE_SHARE / 2) * count)) if browsers else range(0)
    with loaded_line(settings, apart=browsers > 0) as (bench, line), ExitStack() as beside:
        dashboard: DashboardProcess | None = None
        process = psutil.Process(line.pid)
        began = time.monotonic()
        for done, stretch in enumerate(stretches):
            if dashboard is None and done in looked_at:
                dashboard = beside.enter_context(DashboardProcess(line, browsers))
            elif dashboard is not None and done not in looked_at:
                dashboard.close()
                dashboard = None
            play = bench.play(stretch.schedule(rate))
            window = _window(play, stretch.seconds)
            windows.append(window)
            verdicts.update(play.verdicts())
            sample = _look(process, window, play.frames, (time.monotonic() - began) / 60)
            if dashboard is not None:
                memory, cpu = dashboard.look()
                sample = sample.model_copy(update={"dashboard_mb": memory, "dashboard_cpu": cpu})
            samples.append(sample)
            report("soaking", done + 1, count)
        peak = peak_memory_mb(line.pid)
    latency = LatencyHistogram.merged(window.latency for window in windows)
    run = Run(
        name=f"soak at {rate:g}/s",
        kind="line",
        settings=settings.to_json() | {"rate": rate},
        images_per_s=sum(window.images for window in windows) / sum(window.seconds for window in windows),
        latency_ms=latency.percentiles(),
        variation=latency.variation(),
        verdicts=dict(verdicts),
        peak_memory_mb=peak,
        windows=tuple(StoredWindow.of(window) for window in windows),
    )
    return SoakReport(run, tuple(samples), judge_drift(samples) | judge_dashboard(samples))


def judge_drift(samples: Sequence[Sample]) -> dict[str, float]:
    """Returns what changed after the line had settled; empty if there are too few samples.

    For memory, handles and threads, these are slopes per hour of a line through the samples. For latency, they are the
    ratios of the medians of p50 and p99 in the last third to those in the first.
    """
    settled = samples[int(_SETTLING_SHARE * len(samples)) :]
    if len(settled) < _LEAST_SAMPLES:
        return {}
    hours = np.array([sample.minute for sample in settled]) / 60
    slopes = {"memory_mb_per_h": "memory_mb", "handles_per_h": "handles", "threads_per_h": "threads"}
    figures = {}
    for name, field in slopes.items():
        figures[name] = float(np.polyfit(hours, [float(getattr(sample, field)) for sample in settled], 1)[0])
    third = len(settled) // 3
    for name in ("p50", "p99"):
        first, last = _median(settled[:third], name), _median(settled[-third:], name)
        figures[f"{name}_last_over_first"] = last / first if first else 0.0
    return figures


def judge_dashboard(samples: Sequence[Sample]) -> dict[str, float]:
    """Returns what a dashboard cost and whether it grew; empty if there was none, or too few samples of it.

    Its share of a core, the slope of its memory per hour, and the line's p50 and p99 with it over those without: ratios
    of medians. The first fifth of the samples with it, and of those without, does not count.
    """
    alone, watched = (
        [sample for sample in samples if (sample.dashboard_mb is None) is without] for without in (True, False)
    )
    alone, watched = (part[int(_SETTLING_SHARE * len(part)) :] for part in (alone, watched))
    if not alone or len(watched) < _LEAST_SAMPLES:
        return {}
    hours = np.array([sample.minute for sample in watched]) / 60
    memory = [sample.dashboard_mb or 0.0 for sample in watched]
    return {
        "dashboard_cpu": float(np.median([sample.dashboard_cpu or 0.0 for sample in watched])),
        "dashboard_mb_per_h": float(np.polyfit(hours, memory, 1)[0]),
        **{f"{name}_watched_over_alone": _median(watched, name) / _median(alone, name) for name in ("p50", "p99")},
    }


def _median(samples: Sequence[Sample], name: str) -> float:
    return float(np.median([sample.latency_ms[name] for sample in samples]))


def _window(play: Play, seconds: float) -> Window:
    inspected = [item for item in play.arrived if item.verdict.score is not None]
    return Window(seconds, len(inspected), LatencyHistogram(play.latency(item) for item in inspected))


def _look(process: Any, window: Window, frames: int, minute: float) -> Sample:
    return Sample(
        minute=minute,
        memory_mb=process.memory_info().rss / 2**20,
        handles=process.num_fds(),
        threads=process.num_threads(),
        latency_ms=window.latency.percentiles(),
        uninspected=frames - window.images,
    )
