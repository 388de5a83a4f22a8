"""Measures a whole line: from a frame's scheduled arrival to its verdict's arrival at a subscriber."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.load.schedule import Schedule
from bench.measure.line_process import LineProcess
from bench.measure.machine import peak_memory_mb
from bench.measure.remote import Remote
from bench.report.histogram import LatencyHistogram
from bench.report.results import Run, StoredWindow, Value
from bench.report.windows import Window
from engines.errors import TaktlineError
from pipeline.protocol.verdict import Verdict

STAGES = ("queue", "infer", "decide", "publish", "delivery")
_AHEAD_NS = 300_000_000
_POLL_S = 1.0
_PATIENCE_S = 30.0
_LEAST_WINDOW_S, _WINDOWS = 1.0, 10


class Arrived(NamedTuple):
    """A verdict as it arrived.

    Attributes:
        number: number of its frame in the schedule.
        at: when it arrived, monotonic nanoseconds.
        verdict: the verdict.
    """

    number: int
    at: int
    verdict: Verdict


@dataclass
class Play:
    """What happened to a schedule's frames.

    Attributes:
        schedule: when they were to arrive.
        start: monotonic nanoseconds from which the schedule counts.
        arrived: the verdicts in the order they arrived.
        late: for each frame, how many nanoseconds late the loading process sent it.
        warm_up: seconds at the start that do not count.
    """

    schedule: Schedule
    start: int
    arrived: list[Arrived]
    late: list[int]
    warm_up: float = 0.0
    _counted: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self._counted = self.schedule.moments >= self.warm_up * 1e9

    @property
    def frames(self) -> int:
        """Number of frames that count."""
        return int(self._counted.sum())

    def counted(self) -> list[Arrived]:
        """Returns the verdicts of the frames that count."""
        return [item for item in self.arrived if self._counted[item.number]]

    def latency(self, item: Arrived) -> int:
        """Returns the nanoseconds from a frame's scheduled arrival to its verdict's arrival."""
        return item.at - self.start - int(self.schedule.moments[item.number])

    def answers(self, takt_ms: float) -> dict[str, float]:
        """Returns the share of answers, inspected or not, that came after the takt, and the slowest in milliseconds."""
        took = [self.latency(item) / 1e6 for item in self.counted()]
        late = sum(latency > takt_ms for latency in took) / max(1, self.frames)
        return {"late_share": late, "slowest_ms": max(took, default=0.0)}

    def verdicts(self) -> dict[str, int]:
        """Counts verdicts, frames without one (`missing`), and frames with more than one (`twice`)."""
        answers = Counter(item.number for item in self.counted())
        counts: dict[str, int] = dict(Counter(item.verdict.verdict for item in self.counted()))
        wrong = {"missing": self.frames - len(answers), "twice": sum(count > 1 for count in answers.values())}
        return counts | {name: count for name, count in wrong.items() if count}

    def windows(self) -> list[Window]:
        """Returns up to ten windows of at least a second, with the inspected frames whose verdicts arrived in each."""
        begin = self.start + round(self.warm_up * 1e9)
        arrived = [item for item in self.arrived if item.verdict.score is not None]
        # Verdicts already on their way when counting begins arrive in the first window and count there: about as many
        # are still on their way at the end.
        end = max(self.start + round(self.schedule.seconds * 1e9), begin + 1)
        seconds = (end - begin) / 1e9
        count = max(1, min(_WINDOWS, int(seconds / _LEAST_WINDOW_S)))
        edges = np.linspace(begin, end, count + 1)
        windows = []
        for low, high in pairwise(edges):
            own = [item for item in arrived if low < item.at <= high]
            latency = LatencyHistogram(self.latency(item) for item in own)
            windows.append(Window(seconds / count, len(own), latency))
        return windows

    def split(self) -> dict[str, LatencyHistogram]:
        """Returns where the inspected frames' time went: in the line's stages, and from its socket to here."""
        histograms = {name: LatencyHistogram() for name in STAGES}
        for item in self.counted():
            if item.verdict.score is not None:
                parts = item.verdict.latency
                for name in STAGES[:-1]:
                    histograms[name].record(getattr(parts, name))
                histograms["delivery"].record(self.latency(item) - parts.total)
        return histograms


class LineBench:
    """A line, and what loads it.

    Args:
        line: the line's process.
        loader: a `Loader`'s process, for the line's feeds.
    """

    def __init__(self, line: LineProcess, loader: Remote) -> None:
        self._line, self._loader = line, loader
        self._plays = 0

    def play(self, schedule: Schedule, warm_up: float = 0.0) -> Play:
        """Loads the line with a schedule and collects every verdict.

        Args:
            schedule: when frames arrive.
            warm_up: seconds at its start that do not count.

        Raises:
            TaktlineError: the line or the loader ended.
        """
        with _no_collections():
            return self._play(schedule, warm_up)

    def _play(self, schedule: Schedule, warm_up: float) -> Play:
        self._plays += 1
        name = f"{self._plays}"
        start = time.monotonic_ns() + _AHEAD_NS
        self._loader.start("play", name, schedule, start)
        arrived: list[Arrived] = []
        numbers: set[int] = set()
        quiet_since = time.monotonic_ns()
        while len(numbers) < len(schedule):
            try:
                verdict, _ = self._line.verdicts.receive(_POLL_S)
            except TimeoutError:
                self._line.check()
                last = max(quiet_since, start + int(schedule.moments[-1]))
                if time.monotonic_ns() - last > _PATIENCE_S * 1e9:
                    break
                continue
            at = quiet_since = time.monotonic_ns()
            own, _, number = (verdict.part or "").partition(".")
            # Verdicts left over from an earlier play do not count.
            if own == name and number.isdecimal() and int(number) < len(schedule):
                arrived.append(Arrived(int(number), at, verdict))
                numbers.add(int(number))
        late: list[int] = self._loader.answer()
        return Play(schedule, start, arrived, late, warm_up)

    def measure(self, name: str, schedule: Schedule, warm_up: float, settings: dict[str, Value]) -> Run:
        """Plays a schedule and returns its figures."""
        return self.figures(self.play(schedule, warm_up), name, settings)

    def figures(self, play: Play, name: str, settings: dict[str, Value]) -> Run:
        """Returns the figures of a play, with the line's peak memory."""
        run = summarise(play, name, settings)
        return run.model_copy(update={"peak_memory_mb": peak_memory_mb(self._line.pid)})


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keeps Python from collecting garbage: with many verdicts that takes 100 ms, which would count as latency."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def summarise(play: Play, name: str, settings: dict[str, Value]) -> Run:
    """Returns the figures of a play.

    Raises:
        TaktlineError: no frame of it counts.
    """
    if not play.frames:
        raise TaktlineError(f"all {play.schedule.seconds:g} s are warm-up; measure for longer")
    windows = play.windows()
    latency = LatencyHistogram(play.latency(item) for item in play.counted() if item.verdict.score is not None)
    seconds = sum(window.seconds for window in windows)
    return Run(
        name=name,
        kind="line",
        settings=settings | {"seconds": round(seconds, 3), "offered_per_s": round(play.frames / seconds, 3)},
        images_per_s=sum(window.images for window in windows) / seconds,
        latency_ms=latency.percentiles(),
        variation=latency.variation(),
        split_ms={stage: histogram.percentiles() for stage, histogram in play.split().items()},
        verdicts=play.verdicts(),
        reasons=dict(Counter(item.verdict.reason for item in play.counted() if item.verdict.reason is not None)),
        lag_ms=LatencyHistogram(play.late).percentiles(),
        windows=tuple(StoredWindow.of(window) for window in windows),
    )
