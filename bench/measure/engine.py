"""Measures engines alone: from arrays in memory to scores."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.load.pictures import map_frames
from bench.measure.machine import peak_memory_mb
from bench.measure.remote import Remote
from bench.report.histogram import LatencyHistogram, Percentiles
from bench.report.results import Run, StoredWindow, Value
from bench.report.windows import Measured, Window, take_turns
from engines.bundle import Bundle, open_bundle
from engines.closing import Closing
from engines.engine import EXACT, Engine, Frames, Scores
from engines.errors import ConfigError, EngineUnavailable
from engines.registry import ENGINES, engine_class, open_engine

_WARM_UP_S, _WARM_UP_RUNS = 0.2, 10
_LEAST_RUNS = 3

Clock = Callable[[], int]
Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Choice:
    """An engine to measure.

    Attributes:
        engine: its name.
        device: what it runs on; None for the engine's preferred device.
        precision: as `open_engine` takes it.
    """

    engine: str
    device: str | None
    precision: str

    @property
    def name(self) -> str:
        """Engine, device and precision in words."""
        return " ".join(word for word in (self.engine, self.device, self.precision) if word)


@dataclass
class Stretch:
    """The result of one window of an engine.

    Attributes:
        window: throughput with batches in flight, and the latencies of single batches.
        split: where the latencies went, if the engine measures that.
    """

    window: Window
    split: dict[str, LatencyHistogram] = field(default_factory=dict)


def choose_engines(bundle: Bundle, names: Sequence[str], precisions: Sequence[str]) -> list[Choice]:
    """Lists the engines that can run here, on their preferred devices, in the requested precisions.

    Args:
        bundle: the bundle.
        names: engines; all that can run if empty.
        precisions: empty for all, with and without a second look.

    Raises:
        ConfigError: a requested engine or precision is not available here.
    """
    choices = []
    for name in names or ENGINES:
        found = engine_class(name)
        try:
            device = found.devices()[0]
        except EngineUnavailable as error:
            if names:
                raise ConfigError(f"the engine {name} cannot run here: {error}") from error
            continue
        for fast in found.precisions_for(bundle, device):
            offered = [fast] if fast == EXACT or fast not in bundle.manifest.bands else [fast, f"{fast}+{EXACT}"]
            choices += [Choice(name, device, item) for item in offered if not precisions or item in precisions]
    if not choices:
        raise ConfigError(f"no requested engine offers {' or '.join(precisions)} here; see: taktline engines")
    return choices


def measure_stretch(
    engine: Engine, frames: Frames, batch: int, seconds: float, start: int = 0, clock: Clock = time.perf_counter_ns
) -> Stretch:
    """Measures an engine for a while: first the latency of single batches, then throughput with batches in flight.

    Args:
        engine: the engine.
        frames: taken in turn, over and over.
        batch: frames in a batch.
        seconds: length of each of the two parts.
        start: the first frame to take.
        clock: nanoseconds.
    """
    turn = _Turn(frames, batch, start)
    latency = LatencyHistogram()
    split: dict[str, LatencyHistogram] = {}
    end, runs = clock() + round(seconds * 1e9), 0
    while clock() < end or runs < _LEAST_RUNS:
        began = clock()
        scores = engine.infer(turn.next())
        took = clock() - began
        latency.record(took)
        runs += 1
        for name, part in _split(scores, took).items():
            split.setdefault(name, LatencyHistogram()).record(part)
    in_flight: deque[Future[Scores]] = deque()
    began, images = clock(), 0
    end, runs = began + round(seconds * 1e9), 0
    while clock() < end or runs < _LEAST_RUNS:
        in_flight.append(engine.submit(turn.next()))
        images, runs = images + batch, runs + 1
        if len(in_flight) > engine.jobs:
            in_flight.popleft().result()
    for future in in_flight:
        future.result()
    return Stretch(Window((clock() - began) / 1e9, images, latency), split)


class EngineWorker(Closing):
    """An engine in its own process, so that its memory can be measured and other engines' threads do not disturb it.

    Args:
        bundle: the bundle's folder.
        choice: which engine.
        max_batch: the most frames in a batch.
        frames: file made by `stored_frames`.
    """

    def __init__(self, bundle: Path, choice: Choice, max_batch: int, frames: Path) -> None:
        self._frames = map_frames(frames)
        self._engine = open_engine(open_bundle(bundle), choice.engine, choice.precision, max_batch, choice.device)
        self._start = 0

    def warm_up(self, batch: int) -> None:
        """Runs a batch size for 200 ms, and at least ten times."""
        turn, end, runs = _Turn(self._frames, batch, 0), time.monotonic() + _WARM_UP_S, 0
        while time.monotonic() < end or runs < _WARM_UP_RUNS:
            self._engine.infer(turn.next())
            runs += 1

    def measure(self, batch: int, seconds: float) -> Stretch:
        """Measures one window; its frames continue where the last window ended."""
        stretch = measure_stretch(self._engine, self._frames, batch, seconds, self._start)
        self._start += stretch.window.images
        return stretch

    def peak_memory_mb(self) -> float:
        """Returns the peak memory of this process in MiB."""
        return peak_memory_mb(os.getpid())

    def close(self) -> None:
        """Closes the engine."""
        self._engine.close()


@dataclass
class Candidate:
    """A batch size in an engine's process.

    Attributes:
        choice: the engine.
        batch: frames in a batch.
        worker: its process.
        split: where the latencies of all windows went.
    """

    choice: Choice
    batch: int
    worker: Remote
    split: dict[str, list[LatencyHistogram]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.choice.name}, batch {self.batch}"

    def measure(self, seconds: float) -> Window:
        """Measures its next window."""
        stretch: Stretch = self.worker.ask("measure", self.batch, seconds)
        for part, histogram in stretch.split.items():
            self.split.setdefault(part, []).append(histogram)
        return stretch.window

    def run(self, measured: Measured, baseline: str) -> Run:
        """Returns the figures of its windows."""
        latency = LatencyHistogram.merged(window.latency for window in measured.windows)
        settings: dict[str, Value] = {
            "engine": self.choice.engine, "device": self.choice.device, "precision": self.choice.precision,
            "batch": self.batch,
        }  # fmt: skip
        return Run(
            name=self.name,
            kind="engine",
            settings=settings,
            images_per_s=median_rate(measured.windows),
            steady=measured.steady,
            latency_ms=latency.percentiles(),
            variation=latency.variation(),
            split_ms=_percentiles(self.split),
            ratio=measured.ratio,
            baseline=baseline,
            peak_memory_mb=self.worker.ask("peak_memory_mb"),
            windows=tuple(StoredWindow.of(window) for window in measured.windows),
        )


def bench_engines(
    bundle: Bundle,
    plan: Sequence[tuple[Choice, Sequence[int]]],
    frames: Path,
    seconds: float,
    baseline: str | None,
    report: Report,
) -> list[Run]:
    """Measures engines and batch sizes in turn, each engine in its own process.

    Args:
        bundle: the bundle.
        plan: the engines, each with its batch sizes.
        frames: file made by `stored_frames`.
        seconds: half of a window: single batches, then batches in flight.
        baseline: name of the run that ratios refer to, or the beginning of it; None for the first.
        report: called with the progress.

    Raises:
        ConfigError: no run has that name.
    """
    with ExitStack() as stack:
        candidates: list[Candidate] = []
        for done, (choice, batches) in enumerate(plan):
            report(f"opening {choice.name}", done, len(plan))
            worker = stack.enter_context(
                Remote(f"the engine {choice.name}", EngineWorker, bundle.path, choice, max(batches), frames)
            )
            candidates += [Candidate(choice, batch, worker) for batch in batches]
        names = [candidate.name for candidate in candidates]
        index = next((at for at, name in enumerate(names) if baseline is None or name.startswith(baseline)), None)
        if index is None:
            raise ConfigError(f"no run is called '{baseline}'; give one of: {'; '.join(names)}")
        for candidate in candidates:
            candidate.worker.ask("warm_up", candidate.batch)
        measures = [partial(candidate.measure, seconds) for candidate in candidates]
        measured = take_turns(measures, index, lambda done, total: report("steady", done, total))
        report("done", len(names), len(names))
        return [one.run(result, names[index]) for one, result in zip(candidates, measured, strict=True)]


def median_rate(windows: Sequence[Window]) -> float:
    """Returns the median throughput of some windows."""
    rates = sorted(window.rate for window in windows)
    middle = len(rates) // 2
    return rates[middle] if len(rates) % 2 else (rates[middle - 1] + rates[middle]) / 2


class _Turn:
    """Takes batches of frames over and over; none reaches beyond the end."""

    def __init__(self, frames: Frames, batch: int, start: int) -> None:
        self._frames, self._batch, self._next = frames, min(batch, len(frames)), start

    def next(self) -> Frames:
        last = len(self._frames) - self._batch
        start = self._next % (last + 1)
        self._next = 0 if start + self._batch > last else start + self._batch
        return self._frames[start : start + self._batch]


def _split(scores: Scores, took: int) -> dict[str, int]:
    timing = scores.timing
    if timing is None:
        return {}
    known = timing.copy_in + timing.compute + timing.copy_out
    return {
        "copy_in": timing.copy_in, "compute": timing.compute, "copy_out": timing.copy_out,
        "hand_over": max(0, took - known),
    }  # fmt: skip


def _percentiles(split: dict[str, list[LatencyHistogram]]) -> dict[str, Percentiles]:
    return {name: LatencyHistogram.merged(histograms).percentiles() for name, histograms in split.items()}
