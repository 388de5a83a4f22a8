"""Every engine gives the same scores, checks what it is given, and closes cleanly."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.dataset import open_test_split, read_frames
from engines.bundle import Bundle
from engines.engine import Engine, Frames, Scores
from engines.errors import ConfigError, EngineError, EngineUnavailable
from engines.registry import ENGINES, engine_class, open_engine
from tests.paths import ROOT


@pytest.fixture(scope="module")
def frames(drawn: Path) -> Frames:
    return np.stack(list(read_frames(open_test_split(drawn), (224, 224))))


def open_or_skip(bundle: Bundle, name: str, precision: str, max_batch: int) -> Engine:
    """Opens an engine, or skips the test where it needs hardware that is not here."""
    try:
        engine_class(name).devices()
    except EngineUnavailable as error:
        pytest.skip(f"needs an NVIDIA GPU and TensorRT: {error}")
    return open_engine(bundle, name, precision, max_batch)


@pytest.mark.parametrize("name", list(ENGINES))
def test_scores_do_not_depend_on_the_batch_nor_on_threads(bundle: Bundle, frames: Frames, name: str) -> None:
    # The preferred engine on a CPU also shows a full batch of 16.
    count = 16 if name == "openvino" else 4
    with open_or_skip(bundle, name, "f32", count) as engine:
        whole = engine.infer(frames[:count])
        assert whole.score.shape == (count,)
        assert whole.score.dtype == np.float32
        assert whole.heatmap.shape == (count, *bundle.manifest.heatmap.grid)
        single = [engine.infer(frames[index : index + 1]) for index in range(count)]
        np.testing.assert_allclose(np.concatenate([one.score for one in single]), whole.score, atol=1e-3)
        np.testing.assert_allclose(np.concatenate([one.heatmap for one in single]), whole.heatmap, atol=5e-3)
        with ThreadPoolExecutor(2) as pool:
            halves = list(pool.map(engine.infer, [frames[: count // 2], frames[count // 2 : count]] * 4))
        for index in range(0, 8, 2):
            both = np.concatenate([halves[index].score, halves[index + 1].score])
            np.testing.assert_allclose(both, whole.score, atol=1e-3)


def test_results_come_in_the_order_of_submission(bundle: Bundle, frames: Frames) -> None:
    with open_engine(bundle, "openvino", "f32", max_batch=4) as engine:
        expected = engine.infer(frames[:4]).score
        futures = [engine.submit(frames[index : index + 1]) for index in (0, 1, 2, 3) * 5]
        found = [float(future.result().score[0]) for future in futures]
    np.testing.assert_allclose(found, np.tile(expected, 5), atol=1e-3)


@pytest.mark.parametrize("name", list(ENGINES))
def test_wrong_input_is_refused_in_words(bundle: Bundle, frames: Frames, name: str) -> None:
    with open_or_skip(bundle, name, "f32", 2) as engine:
        for wrong in (frames[:3], frames[:0], frames[:1, :100], frames[:1].astype(np.float32), frames[0]):
            with pytest.raises(EngineError, match=name):
                engine.submit(wrong)  # type: ignore[arg-type]
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(frames[:1])


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_an_engine_stays_on_the_cores_of_its_process(small_bundle_path: Path, name: str) -> None:
    """All its threads: whoever gives a line one core has other plans for the others."""
    program = f"""
import os
from pathlib import Path
core = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {{core}})
import numpy as np
from engines.bundle import open_bundle
from engines.registry import open_engine
with open_engine(open_bundle(Path({str(small_bundle_path)!r})), {name!r}, "f32", measure=False) as engine:
    engine.infer(np.zeros((1, 64, 64, 3), np.uint8))
    assert {{*os.sched_getaffinity(0)}} == {{core}}
    for task in Path("/proc/self/task").iterdir():
        assert os.sched_getaffinity(int(task.name)) == {{core}}, task.name
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_unknown_names_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="openvino"):
        open_engine(bundle, "opnvino")
    with pytest.raises(ConfigError, match="f32"):
        open_engine(bundle, "openvino", "f8")
    with pytest.raises(ConfigError, match="max_batch"):
        open_engine(bundle, "openvino", max_batch=0)
    with pytest.raises(ConfigError, match="runs on cpu"):
        open_engine(bundle, "onnxruntime", device="tpu")
    with pytest.raises(ConfigError, match="no engine runs on the device 'tpu'"):
        open_engine(bundle, device="tpu")
    with pytest.raises(ConfigError, match=r"bf16\+f32"):
        open_engine(bundle, "openvino", "bf16+f16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize(("name", "device"), [("torch", "cuda"), ("onnxruntime", "cuda"), ("tensorrt", "cuda")])
def test_a_gpu_agrees_with_the_reference(bundle: Bundle, frames: Frames, name: str, device: str) -> None:
    try:
        if device not in engine_class(name).devices():
            pytest.skip(f"this {name} is built without CUDA")
    except EngineUnavailable as error:
        pytest.skip(str(error))
    with open_engine(bundle, "torch", "f32", device="cpu") as reference:
        expected = reference.infer(frames[:16])
    for precision, band in (("f32", 0.05), ("f16", bundle.manifest.bands["f16"].width)):
        with open_engine(bundle, name, precision, device=device) as engine:
            futures = [engine.submit(frames[start : start + 4]) for start in range(0, 16, 4)]
            found = np.concatenate([future.result().score for future in futures])
            np.testing.assert_allclose(found, expected.score, atol=band)


def test_a_compiled_model_is_kept_on_disk(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAKTLINE_CACHE", str(tmp_path))
    with open_engine(bundle, "openvino", "f32", max_batch=1) as engine:
        first = engine.infer(np.zeros((1, 224, 224, 3), np.uint8)).score
    kept = {path for path in (tmp_path / "openvino").rglob("*") if path.is_file()}
    assert kept
    with open_engine(bundle, "openvino", "f32", max_batch=1) as engine:
        assert engine.infer(np.zeros((1, 224, 224, 3), np.uint8)).score == pytest.approx(first, abs=1e-5)
    assert {path for path in (tmp_path / "openvino").rglob("*") if path.is_file()} == kept
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("TAKTLINE_CACHE", str(blocked))
    with pytest.raises(ConfigError, match="set TAKTLINE_CACHE"):
        open_engine(bundle, "openvino", "f32", max_batch=1)


class Timed(Engine):
    """An engine that takes a millisecond a frame."""

    name = "timed"

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        time.sleep(0.001 * len(frames))
        future: Future[Scores] = Future()
        future.set_result(self._scores(np.zeros(len(frames), np.float32), np.zeros((len(frames), 2, 2), np.float32)))
        return future

    def _close(self) -> None:
        """Nothing is open."""


def test_a_quick_engine_times_every_size_while_it_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with Timed((32, 32), "f32", 6, "cpu") as engine:
        engine.warm_up()
        assert sorted(engine.batch_ns) == [1, 2, 3, 4, 5, 6]
        assert all(taken >= 1e6 * size for size, taken in engine.batch_ns.items())
    # As if a second were over.
    monkeypatch.setattr("engines.engine._TIMING_NS", 1)
    with Timed((32, 32), "f32", 6, "cpu") as engine:
        engine.warm_up()
        assert sorted(engine.batch_ns) == [1, 2, 4, 6]
