"""The harness's own arithmetic, on engines and lines of known speed, with a clock that the test turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from bench.load.schedule import Arrivals, make_schedule
from bench.measure.arithmetic import operations_per_picture, operations_per_second
from bench.measure.engine import measure_stretch, median_rate
from bench.measure.limit import find_limit, keeps
from bench.measure.line import Arrived, Play, summarise
from bench.measure.remote import Remote
from bench.report.histogram import LatencyHistogram
from bench.report.results import Run
from bench.report.windows import Window, agree, take_turns
from engines.engine import Engine, Frames, Scores, Timing
from engines.errors import DataError, TaktlineError
from pipeline.protocol.verdict import Latency, Outcome, Reason, Verdict

FRAMES = np.zeros((10, 32, 32, 3), np.uint8)


class Clock:
    """Time that goes by only when someone works."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class KnownEngine(Engine):
    """An engine that takes a known time for each frame."""

    name = "known"

    def __init__(self, clock: Clock, frame_ns: int) -> None:
        super().__init__((32, 32), "f32", 8, "cpu")
        self._clock, self._frame_ns = clock, frame_ns

    def _submit(self, frames: Frames, _until: int | None) -> Future[Scores]:
        taken = len(frames) * self._frame_ns
        self._clock.now += taken
        future: Future[Scores] = Future()
        score, timing = np.zeros(len(frames), np.float32), Timing(0, taken * 3 // 4, taken // 8)
        future.set_result(self._scores(score, np.zeros((len(score), 2, 2), np.float32), timing))
        return future

    def _close(self) -> None:
        pass


@pytest.mark.parametrize(("batch", "latency_ms"), [(1, 4.0), (4, 16.0), (8, 32.0)])
def test_an_engine_of_known_speed_is_measured_as_such(batch: int, latency_ms: float) -> None:
    clock = Clock()
    with KnownEngine(clock, 4_000_000) as engine:
        stretch = measure_stretch(engine, FRAMES, batch, 2.0, clock=clock)
    assert stretch.window.rate == pytest.approx(250, rel=0.001)
    latency = stretch.window.latency.percentiles()
    for name in ("p50", "p99", "p99_9", "max", "mean"):
        assert latency[name] == pytest.approx(latency_ms, rel=0.001)
    assert stretch.window.latency.variation() < 0.001
    parts = [stretch.split[name].quantile(50) / latency_ms for name in ("compute", "copy_out", "hand_over")]
    assert parts == pytest.approx([0.75, 0.125, 0.125], rel=0.001)


def window(rate: float, p99_ms: float) -> Window:
    return Window(1.0, round(rate), LatencyHistogram([round(p99_ms * 1e6)] * 10))


def played(rates: Sequence[float], p99s: Sequence[float] | None = None) -> Callable[[], Window]:
    windows = iter([window(rate, p99) for rate, p99 in zip(rates, p99s or [10.0] * len(rates), strict=True)])
    return lambda: next(windows)


def test_windows_agree_in_throughput_and_tail() -> None:
    assert agree([window(100, 10), window(109, 10.9), window(105, 10.5)])
    assert not agree([window(100, 10), window(112, 10), window(105, 10)])
    assert not agree([window(100, 10), window(100, 11.3), window(100, 10)])


def test_windows_go_on_until_three_agree_and_only_those_count() -> None:
    quick = [100.0, 200, 300, 300, 310, *[300.0] * 5]
    wild = [100.0, 200] * 5
    done: list[tuple[int, int]] = []
    first, second = take_turns([played(quick), played(wild)], 0, lambda *state: done.append(state))
    assert first.steady and [item.rate for item in first.windows] == [300, 300, 310]
    assert not second.steady and len(second.windows) == 10
    assert first.ratio == 1.0
    assert second.ratio == pytest.approx(np.median([b / a for a, b in zip(quick, wild, strict=True)]))
    assert done[-1] == (1, 2)
    assert median_rate(first.windows) == 300


def test_an_unsteady_tail_is_unsteady() -> None:
    (only,) = take_turns([played([100] * 10, [10, 20] * 5)], 0, lambda *_: None)
    assert not only.steady


def verdict(score: float | None, latency: Latency, reason: Reason | None = None) -> Verdict:
    outcome: Outcome = "uninspected" if reason else "ok"
    return Verdict("line", "camera-0", 0, outcome, reason, score, 2.0, (), None, 0, latency, "known", "f32", True, "0")


def simulate(arrivals: Arrivals, rate: float, service_ms: float, seconds: float, cameras: int = 1) -> Run:
    """A line in a virtual clock: one frame after the other, each for a known time, none dropped."""
    schedule = make_schedule(arrivals, rate, seconds, cameras, seed=3)
    free, arrived = 0, []
    for number, moment in enumerate(schedule.moments.tolist()):
        begins = max(free, moment)
        free = begins + round(service_ms * 1e6)
        parts = Latency(begins - moment, free - begins, 0, 0)
        arrived.append(Arrived(number, 1_000 + free, verdict(1.0, parts)))
    return summarise(Play(schedule, 1_000, arrived, [0] * len(schedule)), f"{rate}", {})


@pytest.mark.parametrize("cameras", [1, 3])
@pytest.mark.parametrize("service_ms", [5.0, 20.0])
def test_the_limit_of_a_line_of_known_speed_is_found(service_ms: float, cameras: int) -> None:
    capacity = 1000 / service_ms
    limit = find_limit(
        lambda rate: simulate("constant", rate, service_ms, 20, cameras), 3 * service_ms, 1.37 * capacity
    )
    assert limit.rate == pytest.approx(capacity, rel=0.05)
    assert limit.rate <= capacity * 1.01
    assert limit.run is not None
    assert limit.run.latency_ms["p50"] == pytest.approx(service_ms, rel=0.05)
    assert limit.run.images_per_s == pytest.approx(limit.rate, rel=0.05)


def test_arrivals_at_random_have_a_lower_limit() -> None:
    """In an M/D/1 queue 99 of 100 are done within four service times up to a load of 0.465 (by its asymptote)."""
    limit = find_limit(lambda rate: simulate("poisson", rate, 10, 120), 40, 110)
    assert limit.rate == pytest.approx(46.5, rel=0.12)


def test_a_rate_that_fails_by_a_hiccup_is_tried_again() -> None:
    tries: list[float] = []

    def measure(rate: float) -> Run:
        tries.append(rate)
        run = simulate("constant", min(rate, 99.0), 10, 5)
        return run.model_copy(update={"verdicts": {"ok": 1, "uninspected": 1}}) if len(tries) % 2 else run

    assert find_limit(measure, 30, 100).rate > 95
    assert keeps(simulate("constant", 10, 10, 5), 11)
    assert not keeps(simulate("constant", 10, 10, 5), 9)


def test_what_was_lost_or_came_twice_is_told() -> None:
    schedule = make_schedule("constant", 10, 2)
    parts = Latency(1_000_000, 5_000_000, 1_000_000, 1_000_000)

    def at(number: int) -> int:
        return 5 + int(schedule.moments[number]) + 10_000_000

    arrived = [Arrived(number, at(number), verdict(1.0, parts)) for number in range(20) if number != 12]
    arrived += [Arrived(3, at(3), verdict(1.0, parts)), Arrived(13, at(13), verdict(1.0, parts))]
    arrived[14] = Arrived(15, at(15), verdict(None, parts, "dropped"))
    run = summarise(Play(schedule, 5, arrived, [0] * 20, warm_up=1.0), "x", {})
    # The second half counts: ten frames, of which one got nothing, one two answers, one no inspection.
    assert run.verdicts == {"ok": 9, "uninspected": 1, "missing": 1, "twice": 1}
    assert run.reasons == {"dropped": 1}
    assert not keeps(run, 1000)
    assert run.latency_ms["p50"] == pytest.approx(10, rel=0.001)
    assert run.split_ms["delivery"]["p50"] == pytest.approx(2, rel=0.001)
    with pytest.raises(TaktlineError, match="warm-up"):
        summarise(Play(schedule, 5, arrived, [], warm_up=2.0), "x", {})


def test_a_histogram_keeps_three_digits_and_survives_its_file() -> None:
    histogram = LatencyHistogram(range(10_000, 100_010_000, 10_000))
    for percent in (50.0, 99.0, 99.9):
        assert histogram.quantile(percent) == pytest.approx(percent, rel=0.001)
    again = LatencyHistogram.decode(histogram.encode())
    assert again.percentiles() == histogram.percentiles()
    both = LatencyHistogram.merged([again, histogram, LatencyHistogram()])
    assert both.count == both.bars()[1].sum() == 20_000
    assert LatencyHistogram().percentiles()["p99"] == 0
    with pytest.raises(DataError, match="cannot be decoded"):
        LatencyHistogram.decode("nonsense")


def test_operations_are_counted_as_on_paper(tmp_path: Path) -> None:
    ops = ov.opset13
    frames = ops.parameter([-1, 3, 32, 32], np.float32, name="frames")
    strided = ops.convolution(frames, ops.constant(np.ones((8, 3, 3, 3), np.float32)), [2, 2], [1, 1], [1, 1], [1, 1])
    flat = ops.reshape(strided, ops.constant(np.array([-1, 8 * 16 * 16])), False)
    product = ops.matmul(flat, ops.constant(np.ones((8 * 16 * 16, 10), np.float32)), False, False)
    path = tmp_path / "model.xml"
    ov.save_model(ov.Model([product], [frames], "small"), path, compress_to_fp16=False)
    assert operations_per_picture(path) == 2 * (8 * 16 * 16 * 3 * 9 + 8 * 16 * 16 * 10)
    for precision in ("f32", "int8"):
        assert operations_per_second(precision) > 1e8


class Counter:
    """Something that works in another process."""

    def __init__(self, start: int) -> None:
        if start < 0:
            raise DataError("it starts below 0")
        self._count = start

    def add(self, by: int) -> int:
        self._count += by
        return self._count

    def fail(self) -> None:
        raise ValueError("no such thing")

    def die(self) -> None:
        import os

        os._exit(3)


def test_work_in_another_process_is_answered_refused_or_gone() -> None:
    with Remote("the counter", Counter, 5) as remote:
        assert remote.ask("add", 2) == 7
        with pytest.raises(TaktlineError, match="ValueError: no such thing"):
            remote.ask("fail")
        assert remote.ask("add", 1) == 8
        with pytest.raises(TaktlineError, match="the process of the counter ended with exit code 3"):
            remote.ask("die")
    with pytest.raises(DataError, match="starts below 0"):
        Remote("the counter", Counter, -1)
