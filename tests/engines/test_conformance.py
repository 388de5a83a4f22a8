"""Every engine keeps the same promises under supervision, with its real library failing."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest
import torch

from engines.bundle import MODEL_F32, NETWORK, Bundle, open_bundle
from engines.engine import Engine, Frames, Scores
from engines.errors import EngineError
from engines.failover import FailoverEngine
from engines.registry import open_engine
from engines.succession import Limits
from engines.torch import TorchEngine
from tests.engines.faulty import POISON, picture

ENGINES = ("openvino", "onnxruntime", "torch")
SPARE = {"openvino": "onnxruntime", "onnxruntime": "torch", "torch": "openvino"}
HUNG = Limits(answer_s=1.5, grace_s=0.3)

pytestmark = pytest.mark.usefixtures("faulty", "no_thread_left")


def opened(bundle: Bundle, name: str) -> Engine:
    """A real engine that fails on poisoned pictures, with an error of its library."""
    engine = open_engine(bundle, name, "f32", 2, "cpu")
    if isinstance(engine, TorchEngine):
        # The network has no operation that fails on a value, so one is put in front of it.
        engine.network.register_forward_pre_hook(_look_up)
    return engine


def _look_up(_module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
    torch.arange(POISON)[given[0][:, 0, 0, 0].long()]


class Sleeping(Engine):
    """A real engine whose device falls asleep while `asleep` is set."""

    def __init__(self, inner: Engine, awake: threading.Event) -> None:
        super().__init__(inner.size, inner.precision, inner.max_batch, inner.device)
        self.name, self.jobs = inner.name, inner.jobs
        self._inner, self._awake = inner, awake

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        self._awake.wait(60)
        return self._inner.submit(frames, until)

    def _close(self) -> None:
        self._awake.wait(60)
        self._inner.close()


@pytest.fixture
def awake() -> Iterator[threading.Event]:
    """Cleared, every sleeping engine sleeps; at the end all wake up."""
    event = threading.Event()
    event.set()
    yield event
    event.set()


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def expected(bundle: Bundle, name: str, values: tuple[int, ...]) -> list[float]:
    with opened(bundle, name) as engine:
        return [float(engine.infer(picture(value)).score[0]) for value in values]


@pytest.mark.parametrize("name", ENGINES)
def test_scores_come_in_order_around_a_batch_that_fails(faulty: Bundle, name: str) -> None:
    values = (1, 200, POISON, 30, POISON, 90, 2)
    good = tuple(value for value in values if value != POISON)
    reference = dict(zip(good, expected(faulty, name, good), strict=True))
    came: list[int] = []

    def note(number: int, _future: Future[Scores]) -> None:
        came.append(number)

    with FailoverEngine([lambda: opened(faulty, name)]) as engine:
        futures = []
        for number, value in enumerate(values * 3):
            futures.append(engine.submit(picture(value)))
            futures[-1].add_done_callback(partial(note, number))
        for future, value in zip(futures, values * 3, strict=True):
            if value == POISON:
                with pytest.raises(EngineError, match=f"{name} failed on a batch: .") as failed:
                    future.result(30)
                assert failed.value.__cause__ is not None
                assert not isinstance(failed.value.__cause__, EngineError)
            else:
                assert future.result(30).score[0] == pytest.approx(reference[value], abs=1e-3)
        assert came == list(range(len(futures)))
        assert engine.state == "running"
        assert engine.trouble is None


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_cannot_be_opened_again_is_replaced(
    faulty: Bundle, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = open_bundle(Path(shutil.copytree(faulty.path, tmp_path / "damaged")))
    with FailoverEngine([lambda: opened(damaged, name), lambda: opened(faulty, SPARE[name])]) as engine:
        for file in (MODEL_F32, NETWORK):
            (damaged.path / file).write_bytes(b"no model any more")
            # OpenVINO knows a model that it has compiled by the second in which its file was written.
            os.utime(damaged.path / file, (0, 0))
        for _ in range(3):
            with pytest.raises(EngineError):
                engine.infer(picture(POISON))
        assert len(engine.infer(picture(7, 2)).score) == 2
        assert engine.name == SPARE[name]
        assert engine.state == "running"
    assert "failed 3 times in a row" in caplog.text
    assert "cannot be opened" in caplog.text or "cannot load" in caplog.text


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_that_fails_again_once_opened_anew_is_replaced(faulty: Bundle, name: str) -> None:
    with FailoverEngine([lambda: opened(faulty, name), lambda: opened(faulty, SPARE[name])]) as engine:
        for _ in range(6):
            assert engine.name == name
            with pytest.raises(EngineError):
                engine.infer(picture(POISON))
        wait_for(lambda: engine.name == SPARE[name])
        assert len(engine.infer(picture(7)).score) == 1


@pytest.mark.parametrize("name", ENGINES)
def test_a_hung_engine_is_noticed_replaced_and_left_alone(faulty: Bundle, name: str, awake: threading.Event) -> None:
    openers = [lambda: Sleeping(opened(faulty, name), awake), lambda: opened(faulty, SPARE[name])]
    with FailoverEngine(openers, HUNG) as engine:
        engine.infer(picture(3))
        awake.clear()
        futures = [engine.submit(picture(3)) for _ in range(engine.jobs)]
        # A batch that comes while every place is taken fails in time too.
        with pytest.raises(EngineError, match="took no batch within"):
            engine.submit(picture(4), until=time.monotonic_ns())
        for future in futures:
            with pytest.raises(EngineError, match=r"has not answered for 1\.5 s|did not answer in time"):
                future.result(10)
        assert len(engine.infer(picture(5)).score) == 1
        assert engine.name == SPARE[name]


@pytest.mark.parametrize("name", ENGINES)
def test_closing_answers_what_is_in_flight(faulty: Bundle, name: str) -> None:
    engine = FailoverEngine([lambda: opened(faulty, name)])
    futures = [engine.submit(picture(value)) for value in range(engine.jobs)]
    engine.close()
    assert all(future.done() for future in futures)
    assert [len(future.result().score) for future in futures] == [1] * len(futures)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.submit(picture(1))


def test_closing_a_hung_engine_ends_by_its_deadline(faulty: Bundle, awake: threading.Event) -> None:
    engine = FailoverEngine([lambda: Sleeping(opened(faulty, "onnxruntime"), awake)])
    awake.clear()
    future = engine.submit(picture(1))
    started = time.monotonic()
    engine.close(0.3)
    assert time.monotonic() - started < 10
    with pytest.raises(EngineError, match="closed before it answered"):
        future.result(0)


def test_a_batchs_own_deadline_is_kept(faulty: Bundle, awake: threading.Event) -> None:
    with FailoverEngine([lambda: Sleeping(opened(faulty, "onnxruntime"), awake)], Limits(grace_s=0.1)) as engine:
        awake.clear()
        future = engine.submit(picture(1), until=time.monotonic_ns())
        with pytest.raises(EngineError, match="did not answer in time"):
            future.result(8)
        # One late batch is no hung engine.
        assert engine.state == "running"
        awake.set()
        assert len(engine.infer(picture(1)).score) == 1


def test_a_slow_engine_is_not_taken_for_a_hung_one(faulty: Bundle, awake: threading.Event) -> None:
    def slow() -> Engine:
        engine = Sleeping(opened(faulty, "onnxruntime"), awake)
        engine.batch_ns = {2: 3_000_000_000}
        return engine

    with FailoverEngine([slow], Limits(answer_s=0.1)) as engine:
        awake.clear()
        future = engine.submit(picture(5))
        with pytest.raises(TimeoutError):
            future.result(0.5)
        awake.set()
        assert len(future.result(10).score) == 1
        assert engine.failovers == 0


def test_the_preferred_engine_is_taken_back_between_two_batches(faulty: Bundle) -> None:
    answers: list[Callable[[], Engine]] = [
        lambda: opened(faulty, "onnxruntime"), broken, broken, lambda: opened(faulty, "onnxruntime")
    ]  # fmt: skip

    def preferred() -> Engine:
        return answers.pop(0)()

    openers = [preferred, lambda: opened(faulty, "openvino")]
    reference = {name: expected(faulty, name, (40,))[0] for name in ("onnxruntime", "openvino")}
    with FailoverEngine(openers, Limits(return_s=0.2)) as engine:
        engine.set_threshold(1.5)
        for _ in range(3):
            with pytest.raises(EngineError):
                engine.infer(picture(POISON))
        wait_for(lambda: engine.name == "openvino")
        while engine.name == "openvino":
            assert engine.infer(picture(40)).score[0] == pytest.approx(reference["openvino"], abs=1e-3)
        assert engine.name == "onnxruntime"
        assert not answers
        assert engine.infer(picture(40)).score[0] == pytest.approx(reference["onnxruntime"], abs=1e-3)


def broken() -> Engine:
    raise RuntimeError("details\nthe card is gone")


def test_without_any_engine_batches_fail_at_once_and_it_is_tried_again(faulty: Bundle) -> None:
    lost = threading.Event()

    def preferred() -> Engine:
        return broken() if lost.is_set() else opened(faulty, "onnxruntime")

    with FailoverEngine([preferred], Limits(retry_s=0.2)) as engine:
        lost.set()
        for _ in range(3):
            with pytest.raises(EngineError):
                engine.infer(picture(POISON))
        wait_for(lambda: engine.state == "failed")
        assert engine.inner is None
        assert engine.trouble is not None
        with pytest.raises(EngineError, match="cannot be reopened yet"):
            engine.submit(picture(1))
        lost.clear()
        wait_for(lambda: engine.state == "running")
        assert len(engine.infer(picture(1)).score) == 1
    with pytest.raises(EngineError, match="cannot be opened: the card is gone"):
        FailoverEngine([broken])
