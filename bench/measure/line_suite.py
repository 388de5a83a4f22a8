"""What `taktline bench line` measures: the line beside the bare engine, at given rates, and up to its limit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.load.decode import Decode
from bench.load.loader import Loader
from bench.load.pictures import load_pictures, stored_frames
from bench.load.schedule import Arrivals, Schedule, make_schedule, read_schedule
from bench.measure.engine import Candidate, Choice, EngineWorker, Report
from bench.measure.limit import find_limit
from bench.measure.line import LineBench
from bench.measure.line_process import LineProcess
from bench.measure.priority import before_others
from bench.measure.remote import Remote
from bench.report.results import Run, Value
from bench.report.windows import Measured, Window
from engines.bundle import Bundle
from pipeline.config.camera import Overload

_ROUNDS = 3
# Load relative to the bare engine's rate that is certainly too much for the line.
_TOO_MUCH = 1.4
_BEYOND = 1.1


@dataclass(frozen=True)
class LineSettings:
    """What is measured, and how.

    Attributes:
        bundle: the bundle.
        data: data set whose test pictures are sent; None for drawn parts.
        engine: as in `[model]`.
        precision: as in `[model]`.
        device: as in `[model]`.
        max_batch: as in `[model]`.
        decode: the form in which the line gets its frames.
        arrivals: how frames arrive, or the file of a recorded schedule.
        cameras: number of cameras that share the rate.
        burst: frames per burst.
        takt_ms: the line's takt; None for none.
        seconds: length of each run, without warm-up.
        warm_up: seconds of warm-up before each run.
        seed: seed for everything random.
        previews: pictures a second of each camera for people who look at it; 0 for none.
        overload: what the line does with frames that it has no time for; None for what is usual for cameras.
    """

    bundle: Bundle
    data: Path | None = None
    engine: str = "auto"
    precision: str = "auto"
    device: str | None = None
    max_batch: int = 8
    decode: Decode = "memory"
    arrivals: Arrivals | Path = "constant"
    cameras: int = 1
    burst: int = 8
    takt_ms: float | None = None
    seconds: float = 10.0
    warm_up: float = 2.0
    seed: int = 0
    previews: int = 0
    overload: Overload | None = None

    def schedule(self, rate: float) -> Schedule:
        """Returns the schedule at a rate, or the recorded one."""
        if isinstance(self.arrivals, Path):
            return read_schedule(self.arrivals)
        seconds = self.warm_up + self.seconds
        return make_schedule(self.arrivals, rate, seconds, self.cameras, self.burst, self.seed)

    def with_arrivals(self, arrivals: Arrivals) -> LineSettings:
        """Returns the same settings with other arrivals."""
        return replace(self, arrivals=arrivals)

    def values(self) -> dict[str, Any]:
        """Returns the line file's tables."""
        model = {"bundle": str(self.bundle.path.resolve()), "engine": self.engine, "precision": self.precision}
        return {
            "line": {"name": "bench", "takt_ms": self.takt_ms},
            "model": model | {"device": self.device, "max_batch": self.max_batch},
            "publish": {"previews": self.previews},
        }

    def to_json(self) -> dict[str, Value]:
        """Returns the settings as plain values."""
        return {
            "data": None if self.data is None else self.data.name, "engine": self.engine, "precision": self.precision,
            "device": self.device, "max_batch": self.max_batch, "decode": self.decode,
            "arrivals": str(self.arrivals), "cameras": self.cameras, "burst": self.burst, "takt_ms": self.takt_ms,
            "overload": self.overload, "seconds": self.seconds, "warm_up": self.warm_up, "seed": self.seed,
        }  # fmt: skip


@dataclass(frozen=True)
class LineReport:
    """The runs, and figures derived from them.

    Attributes:
        runs: the runs.
        figures: by name; see bench/README.md.
    """

    runs: tuple[Run, ...]
    figures: dict[str, float]


@contextmanager
def loaded_line(settings: LineSettings, apart: bool = False) -> Iterator[tuple[LineBench, LineProcess]]:
    """Starts a line and its loader.

    Args:
        settings: what to measure.
        apart: leave one core to the loader and to whatever this thread starts next, and all others to the line, where
            there are two or more. What else runs on that core delays neither the loader nor this thread, where the
            system allows that.
    """
    cameras = settings.schedule(1.0).count if isinstance(settings.arrivals, Path) else settings.cameras
    cores = os.sched_getaffinity(0)
    rest = {max(cores)} if apart and len(cores) > 1 else set()
    try:
        os.sched_setaffinity(0, cores - rest)
        with LineProcess(settings.values(), cameras, overload=settings.overload) as line:
            os.sched_setaffinity(0, rest or cores)
            given = line.feeds, settings.data, settings.bundle.size, settings.decode
            with (
                Remote("the loader", Loader, *given) as loader,
                before_others([loader.pid]) if apart else nullcontext(),
            ):
                yield LineBench(line, loader), line
    finally:
        os.sched_setaffinity(0, cores)


def bench_rates(settings: LineSettings, rates: Sequence[float], report: Report) -> LineReport:
    """Measures the line at given rates; with a takt, also how many answers came after it, and the slowest."""
    runs = []
    figures: dict[str, float] = {}
    with loaded_line(settings) as (bench, _):
        for done, rate in enumerate(rates):
            report(f"{rate:g} frames a second", done, len(rates))
            play = bench.play(settings.schedule(rate), settings.warm_up)
            values = settings.to_json() | {"rate": round(rate, 3)}
            runs.append(bench.figures(play, f"line at {rate:g}/s", values))
            if settings.takt_ms is not None:
                answers = play.answers(settings.takt_ms)
                figures.update({f"rate_{rate:g}_{name}": figure for name, figure in answers.items()})
    report("done", len(rates), len(rates))
    return LineReport(tuple(runs), figures)


def bench_recorded(settings: LineSettings, report: Report) -> LineReport:
    """Measures the line with a recorded schedule."""
    with loaded_line(settings) as (bench, _):
        report(str(settings.arrivals), 0, 1)
        schedule = settings.schedule(1.0)
        run = bench.measure(f"line, {settings.arrivals}", schedule, settings.warm_up, settings.to_json())
    report("done", 1, 1)
    return LineReport((run,), {})


def bench_against_engine(settings: LineSettings, find: bool, report: Report) -> LineReport:
    """Measures the line and the bare engine in the same run, and the line at half of its limit.

    Args:
        settings: what to measure; with `find`, the search is for the limit within its takt.
        find: whether to search for the limit; if not, half of the sustained throughput is taken for half of the limit.
        report: called with the progress.
    """
    pictures = load_pictures(settings.data)
    choice = Choice(settings.engine, settings.device, settings.precision)
    steps = 4 if find else 3
    with stored_frames(pictures, settings.bundle.size) as frames:
        report("opening the bare engine", 0, steps)
        make = (EngineWorker, settings.bundle.path, choice, settings.max_batch, frames)
        with Remote("the engine", *make) as worker:
            single, full = (Candidate(choice, batch, worker) for batch in (1, settings.max_batch))
            for candidate in (single, full):
                worker.ask("warm_up", candidate.batch)
            report("the line, saturated, and the bare engine in turn", 1, steps)
            saturated, bare, ratio = _saturate(settings, full, report, steps)
            runs = [saturated]
            figures = {
                "sustained_per_s": saturated.images_per_s,
                "sustained_over_engine": ratio,
            }
            half = saturated.images_per_s / 2
            with loaded_line(settings) as (bench, _):
                if find and settings.takt_ms is not None:
                    limit = find_limit(
                        lambda rate: _probe(bench, settings, rate, report, steps),
                        settings.takt_ms,
                        _BEYOND * saturated.images_per_s,
                    )
                    runs += limit.probes
                    if limit.run is not None:
                        runs.append(limit.run.model_copy(update={"name": "line, at its limit"}))
                    figures["limit_per_s"], half = limit.rate, limit.rate / 2
                alone = [single.measure(settings.seconds / _ROUNDS) for _ in range(_ROUNDS)]
                if half:
                    report(f"half of the limit, {half:.1f} frames a second", steps - 1, steps)
                    runs.append(_measure(bench, settings, "line, at half of its limit", half))
                    alone += [single.measure(settings.seconds / _ROUNDS) for _ in range(_ROUNDS)]
            one = _bare(single, alone, "bare engine, batch 1")
            many = _bare(full, bare, f"bare engine, batch {settings.max_batch}")
    figures |= {"engine_per_s": many.images_per_s, "engine_batch_1_p50_ms": one.latency_ms["p50"]}
    if half:
        latency = runs[-1].latency_ms
        figures |= {
            "half_per_s": half,
            "half_p50_ms": latency["p50"],
            "half_p50_over_engine_ms": latency["p50"] - one.latency_ms["p50"],
            "half_p99_over_p50": latency["p99"] / latency["p50"] if latency["p50"] else 0.0,
        }
    report("done", steps, steps)
    return LineReport((one, many, *runs), figures)


def _saturate(settings: LineSettings, full: Candidate, report: Report, steps: int) -> tuple[Run, list[Window], float]:
    """Measures bare engine and line in turns: the most that both do, and the median ratio of neighbouring windows."""
    free = replace(settings, takt_ms=None)
    bare, runs = [], []
    with loaded_line(free) as (bench, _):
        for turn in range(_ROUNDS):
            bare.append(full.measure(settings.seconds / 2))
            report(f"the line, saturated, round {turn + 1} of {_ROUNDS}", 1, steps)
            runs.append(_measure(bench, free, "line, saturated", _TOO_MUCH * bare[-1].rate))
    ratios = [run.images_per_s / window.rate for run, window in zip(runs, bare, strict=True)]
    middle = sorted(runs, key=lambda run: run.images_per_s)[_ROUNDS // 2]
    ratio = float(np.median(ratios))
    note = "" if middle.verdicts.get("uninspected") else "nothing was dropped: the line could do more"
    return middle.model_copy(update={"ratio": ratio, "baseline": full.name, "note": note}), bare, ratio


def _probe(bench: LineBench, settings: LineSettings, rate: float, report: Report, steps: int) -> Run:
    report(f"searching the limit, {rate:.1f} frames a second", 2, steps)
    return _measure(bench, settings, f"line at {rate:.1f}/s", rate)


def _measure(bench: LineBench, settings: LineSettings, name: str, rate: float) -> Run:
    values = settings.to_json() | {"rate": round(rate, 3)}
    return bench.measure(name, settings.schedule(rate), settings.warm_up, values)


def _bare(candidate: Candidate, windows: Sequence[Window], name: str) -> Run:
    run = candidate.run(Measured(tuple(windows), True, 1.0), name)
    return run.model_copy(update={"name": name, "steady": None, "ratio": None, "baseline": None})
