"""What `auto` chooses: the fastest engine whose verdicts are float32's, measured once and remembered."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from engines import auto, choice_cache
from engines.auto import Request, choose_engine
from engines.bundle import Bundle, open_bundle
from engines.candidates import Wanted, find_candidates
from engines.catalogue import ENGINES, engine_class
from engines.choice import Candidate, Choice
from engines.engine import Engine, EngineSettings, Frames, NetworkEngine, Scores
from engines.errors import ConfigError, EngineError, EngineUnavailable
from engines.hint import Hint
from engines.registry import open_engine
from engines.second_look import SecondLook
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
    assert "71.4 images/s, and at 100" in trouble


class FakeNetworkEngine(NetworkEngine):
    """Offers what a test says, and counts how often it was opened."""

    name = "fake"
    offered = ("bf16", "f32", "int8")
    opened = 0

    def __init__(self, bundle: Bundle, settings: EngineSettings) -> None:
        super().__init__(bundle, settings)
        type(self).opened += 1

    @classmethod
    def devices(cls) -> tuple[str, ...]:
        return ("cpu", "gpu")

    @classmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        return cls.offered if device == "cpu" else ("f16", "f32")

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        del until
        future: Future[Scores] = Future()
        future.set_result(self._scores(np.zeros(len(frames), np.float32), np.zeros((len(frames), 4, 4), np.float32)))
        return future

    def _close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeNetworkEngine]:
    """Makes the fake engine the only one of this machine, with a cache of its own."""
    monkeypatch.setenv("TAKTLINE_CACHE", str(tmp_path))
    monkeypatch.setitem(ENGINES, "fake", "tests.engines.test_choice:FakeNetworkEngine")
    monkeypatch.setattr(auto, "_ANYWHERE", (("fake", "cpu"),))
    monkeypatch.setattr(auto, "has_nvidia_gpu", lambda: False)
    found = engine_class("fake")
    assert issubclass(found, Engine)
    monkeypatch.setattr(found, "opened", 0)
    return cast("type[FakeNetworkEngine]", found)


def names(bundle: Bundle, precision: str = "auto", device: str | None = None) -> list[str]:
    engines = [("fake", None)]
    found = find_candidates(bundle, engines, Wanted(precision, device), lambda _name: FakeNetworkEngine)
    return [one.name for one in found]


def test_candidates_are_what_gives_float32s_verdicts_or_what_was_asked_for(faulty: Bundle) -> None:
    # The bundle knows no band, so there is no second look to be had.
    assert names(faulty) == ["fake cpu f32", "fake gpu f32"]
    assert names(faulty, device="gpu") == ["fake gpu f32"]
    assert names(faulty, "bf16") == ["fake cpu bf16"]
    assert names(faulty, "bf16+f32") == []
    banded = with_bands(faulty, "bf16", "f16")
    assert names(banded, device="cpu") == ["fake cpu bf16+f32", "fake cpu f32"]
    assert names(banded, device="gpu") == ["fake gpu f16+f32", "fake gpu f32"]
    assert names(banded, "bf16+f32") == ["fake cpu bf16+f32"]


def with_bands(bundle: Bundle, *precisions: str) -> Bundle:
    band = {
        "offset": 0.0,
        "width": 0.1,
        "samples": 9,
        "std": 0.0,
        "largest": 0.0,
        "share": 0.1,
        "measured_with": "fake",
    }
    values = bundle.manifest.model_dump() | {"bands": dict.fromkeys(precisions, band)}
    return Bundle(bundle.path, type(bundle.manifest).model_validate(values), bundle.sha256)


def test_a_choice_is_measured_once_for_all_that_it_depends_on(
    faulty: Bundle, fake: type[FakeNetworkEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine: dict[str, str | int] = {"cores": 2, "flags": "avx2", "openvino": "1"}
    monkeypatch.setattr(auto, "describe_machine", lambda: machine)
    bundle = with_bands(faulty, "bf16")
    first = choose_engine(bundle, Request())
    assert fake.opened == 2
    assert choose_engine(bundle, Request(max_batch=4)) == first
    assert fake.opened == 2
    opened = 2
    for changed in ({"flags": "avx2 avx512_bf16"}, {"openvino": "2"}, {"cores": 1}):
        machine |= changed
        choose_engine(bundle, Request())
        opened += 2
        assert fake.opened == opened
    for request in (Request(hint="throughput"), Request(device="cpu")):
        choose_engine(bundle, request)
        opened += 2
        assert fake.opened == opened
    choose_engine(Bundle(bundle.path, bundle.manifest, "0" * 64), Request())
    assert fake.opened == opened + 2


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": 1}', b"\xff\xfe", None])
def test_a_damaged_file_is_measured_again_and_replaced(
    faulty: Bundle, fake: type[FakeNetworkEngine], tmp_path: Path, damage: bytes | None
) -> None:
    bundle = with_bands(faulty, "bf16")
    choose_engine(bundle, Request())
    (path,) = (tmp_path / "choices").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"batch": 1', b'"batch": 0') if damage is None else damage)
    again = choose_engine(bundle, Request())
    assert fake.opened == 4
    assert choice_cache.recall(Request().key(bundle)) == again


def test_a_cache_that_cannot_be_written_costs_the_memory_only(
    faulty: Bundle, fake: type[FakeNetworkEngine], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "choices").write_text("in the way")
    assert choose_engine(with_bands(faulty, "bf16"), Request()).chosen.engine == fake.name
    assert "not kept" in caplog.text


def test_the_only_candidate_is_not_measured(faulty: Bundle, fake: type[FakeNetworkEngine]) -> None:
    found = choose_engine(faulty, Request("fake", device="cpu"))
    assert (found.chosen.precision, found.chosen.images_per_s, fake.opened) == ("f32", None, 0)
    assert "nothing was measured" in found.why


def test_what_nothing_offers_is_refused(faulty: Bundle, fake: type[FakeNetworkEngine]) -> None:
    del fake
    with pytest.raises(ConfigError, match="no engine offers f8"):
        choose_engine(faulty, Request(precision="f8"))


def test_what_no_longer_opens_is_chosen_anew(
    faulty: Bundle, fake: type[FakeNetworkEngine], caplog: pytest.LogCaptureFixture
) -> None:
    gone = Candidate(engine="fake", device="npu", precision="f32", images_per_s=1e6)
    choice_cache.keep(Request(max_batch=2).key(faulty), Choice.of([gone], "latency", 1, 1.0))
    with open_engine(faulty, max_batch=2) as engine:
        assert engine.device == "cpu"
        assert engine.choice is not None
        assert engine.choice.chosen.device == "cpu"
    assert "cannot be opened" in caplog.text
    assert fake.opened > 1


def test_a_real_engine_is_chosen_once(
    small_bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TAKTLINE_CACHE", str(tmp_path))
    caplog.set_level(logging.INFO, "engines.auto")
    bundle = open_bundle(small_bundle_path)
    fast = [name for name in engine_class("openvino").precisions_for(bundle, "cpu") if name in bundle.manifest.bands]
    with open_engine(bundle, "openvino", max_batch=2, device="cpu") as engine:
        choice = engine.choice
        assert choice is not None
        assert {one.precision for one in choice.candidates} == {"f32", *(f"{name}+f32" for name in fast)}
        assert all(one.images_per_s for one in choice.candidates)
        assert engine.precision == choice.chosen.precision.partition("+")[0]
        assert isinstance(engine, SecondLook) == ("+" in choice.chosen.precision)
        assert engine.infer(np.zeros((2, *bundle.size, 3), np.uint8)).exact.all()
    told = [record for record in caplog.records if "auto measured" in record.message]
    with open_engine(bundle, "openvino", max_batch=2, device="cpu") as engine:
        assert engine.choice == choice
    assert [record for record in caplog.records if "auto measured" in record.message] == told
