"""How a trial times candidates: engines of known speed, on a clock that only their work moves."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future

import numpy as np
import pytest

from engines.choice import Candidate, Choice
from engines.engine import Engine, Frames, Scores
from engines.errors import EngineError, EngineUnavailable
from engines.hint import Hint
from engines.trial import Part, Trial


class FakeClock:
    """Seconds that pass only when an engine works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeEngine(Engine):
    """Takes known seconds for a batch, by the clock."""

    name = "fake"

    def __init__(self, clock: FakeClock, batch: int, seconds: float, breaks: bool = False) -> None:
        super().__init__((32, 32), "f32", batch, "cpu")
        self.clock, self.seconds, self.breaks, self.runs = clock, seconds, breaks, 0

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        del until
        self.runs += 1
        if self.breaks and self.runs > 5:
            raise RuntimeError("the device is gone")
        self.clock.now += self.seconds
        count = len(frames)
        score, heatmap = np.zeros(count, np.float32), np.zeros((count, 4, 4), np.float32)
        future: Future[Scores] = Future()
        future.set_result(self._scores(score, heatmap))
        return future

    def _close(self) -> None:
        """Nothing is held."""


class Bench:
    """A trial on a fake machine: the seconds that each precision takes for a batch, and for opening.

    Attributes:
        opened: every engine that was opened, in order.
    """

    def __init__(
        self,
        seconds: Mapping[str, float],
        hint: Hint = "latency",
        batch: int = 1,
        opening_s: float = 0.1,
        failing: Mapping[str, str] | None = None,
    ) -> None:
        self.opened: dict[str, FakeEngine] = {}
        self.clock, self._seconds, self._opening_s, self._failing = FakeClock(), seconds, opening_s, failing or {}
        self._batch = batch
        self.trial = Trial(self._open, lambda _engine, device: device, batch, hint, clock=self.clock)
        self._hint: Hint = hint

    def _open(self, part: Part) -> Engine:
        self.clock.now += self._opening_s
        if self._failing.get(part[2]) == "opening":
            raise EngineUnavailable("its driver is too old")
        breaks = self._failing.get(part[2]) == "running"
        engine = self.opened[part[2]] = FakeEngine(self.clock, self._batch, self._seconds[part[2]], breaks)
        return engine

    def choose(self, *candidates: Candidate) -> Choice:
        found = Choice.of(self.trial.run(candidates), self._hint, self._batch, self.trial.seconds)
        for engine in self.opened.values():
            with pytest.raises(EngineError, match="closed"):
                engine.infer(np.zeros((1, 32, 32, 3), np.uint8))
        return found


def candidate(precision: str, share: float = 0.0) -> Candidate:
    return Candidate(engine="fake", device="cpu", precision=precision, share=share)


BF16, F32, INT8 = candidate("bf16+f32", 0.1), candidate("f32"), candidate("int8+f32", 0.1)


@pytest.mark.parametrize(
    ("seconds", "candidates", "chosen", "rate"),
    [
        # 1.9 times float32, less one second look in ten.
        ({"f32": 0.019, "bf16": 0.010}, [BF16, F32], "bf16+f32", 1 / 0.0119),
        # A processor that claims bfloat16 and is slow at it.
        ({"f32": 0.010, "bf16": 0.0175}, [BF16, F32], "f32", 100),
        # Eight bits are faster, but look again so often that bfloat16 wins.
        (
            {"f32": 0.020, "bf16": 0.010, "int8": 0.008},
            [BF16, F32, candidate("int8+f32", 0.3)],
            "bf16+f32",
            1 / 0.012,
        ),
        ({"f32": 0.020, "bf16": 0.010, "int8": 0.008}, [BF16, F32, INT8], "int8+f32", 100),
    ],
)
def test_the_fastest_wins_second_looks_included(
    seconds: Mapping[str, float], candidates: list[Candidate], chosen: str, rate: float
) -> None:
    found = Bench(seconds).choose(*candidates)
    assert found.chosen.precision == chosen
    assert found.chosen.images_per_s == pytest.approx(rate, rel=0.01)
    assert [one.precision for one in found.candidates] == [one.precision for one in candidates]
    assert chosen in found.why
    assert found.seconds < 15
    assert Choice.model_validate(found.to_json()) == found


def test_full_batches_in_flight_are_timed_for_throughput() -> None:
    bench = Bench({"f32": 0.4, "bf16": 0.2}, "throughput", batch=8)
    found = bench.choose(BF16, F32)
    assert found.batch == 8
    assert found.chosen.images_per_s == pytest.approx(8 / 0.24, rel=0.01)


@pytest.mark.parametrize(("trouble", "why"), [("opening", "driver is too old"), ("running", "device is gone")])
def test_one_that_fails_is_left_out_with_its_reason(trouble: str, why: str) -> None:
    found = Bench({"f32": 0.02, "bf16": 0.01}, failing={"bf16": trouble}).choose(BF16, F32)
    assert found.chosen.precision == "f32"
    left_out = found.candidates[0]
    assert left_out.images_per_s is None
    assert why in (left_out.left_out or "")


def test_where_all_fail_the_error_has_every_reason() -> None:
    bench = Bench({}, failing={"f32": "opening", "bf16": "opening"})
    with pytest.raises(EngineUnavailable, match=r"fake cpu bf16\+f32: its driver.*fake cpu f32: its driver"):
        bench.choose(BF16, F32)


def test_nothing_is_opened_when_the_time_for_it_is_over() -> None:
    bench = Bench({"f32": 0.02, "bf16": 0.01, "int8": 0.005}, opening_s=6)
    found = bench.choose(BF16, F32, INT8)
    # The first needs float32 too, which is thus compared without being opened again; the third would be the fastest.
    assert [one.images_per_s is None for one in found.candidates] == [False, False, True]
    assert "15 s" in (found.candidates[2].left_out or "")
    assert "int8" not in bench.opened
    slow = Bench({"f32": 2.0, "bf16": 1.0}, opening_s=0.1)
    assert slow.choose(BF16, F32).chosen.precision == "bf16+f32"
    # A turn that has begun is ended.
    assert slow.trial.seconds < 15 + 8 + 4


def test_a_hopeless_one_is_timed_once_only() -> None:
    bench = Bench({"f32": 0.1, "bf16": 0.01})
    bench.choose(candidate("bf16+f32"), F32, candidate("bf16"))
    assert bench.opened["bf16"].runs >= 3 * 4
    alone = Bench({"f32": 0.1, "bf16": 0.01})
    alone.choose(candidate("bf16"), F32)
    assert alone.opened["f32"].runs == 4


def test_a_choice_that_runs_much_slower_than_measured_is_told() -> None:
    found = Bench({"f32": 0.01}).choose(F32)
    assert found.trouble(None) is None
    assert found.trouble(12.5e6) is None
    trouble = found.trouble(14e6)
    assert trouble is not None
    assert "71.4 images/s, and ran at 100" in trouble
