"""What `auto` chooses among on a machine, and that it measures once and remembers."""

from __future__ import annotations

import logging
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
from engines.errors import ConfigError
from engines.registry import open_engine
from engines.second_look import SecondLook


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
    """Makes the fake engine the only one on this machine, with a cache of its own."""
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
    # Without a band there is no second look.
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
