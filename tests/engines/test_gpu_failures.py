"""What a GPU can do wrong, as far as it can be tried without one: the GPU's part is played, ours is real."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from engines import tensorrt as tensorrt_module
from engines import torch as torch_module
from engines.bundle import Bundle
from engines.cuda import CudaError, CudaOutOfMemory, _CudaPython
from engines.engine import EngineSettings, Frames, Scores
from engines.errors import EngineError, EngineUnavailable
from engines.plans import TensorRt
from engines.tensorrt import TensorRtEngine
from engines.torch import TorchEngine


class PlayedGpu:
    """A GPU that holds batches of so many frames, and can be lost."""

    device, capability = "played GPU", (8, 9)

    def __init__(self, holds: int) -> None:
        self.holds, self.lost, self.closed = holds, False, 0

    @contextmanager
    def current(self) -> Iterator[None]:
        yield

    def close(self) -> None:
        self.closed += 1


class PlayedSlot:
    """A slot on it."""

    def __init__(self, engine: TensorRtEngine, gpu: PlayedGpu) -> None:
        if engine.max_batch > gpu.holds:
            raise CudaOutOfMemory("CUDA failed: out of memory")
        self._engine, self._gpu = engine, gpu

    def start(self, frames: Frames) -> None:
        self._count = len(frames)

    def finish(self) -> Scores:
        if self._gpu.lost:
            raise CudaError("CUDA failed: the device is lost")
        grid = self._engine.grid
        return self._engine._scores(np.zeros(self._count, np.float32), np.zeros((self._count, *grid), np.float32))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> PlayedGpu:
    gpu = PlayedGpu(holds=3)

    def open_slots(engine: TensorRtEngine, _bundle: Bundle) -> None:
        engine._slots = [PlayedSlot(engine, gpu) for _ in range(engine.jobs)]  # type: ignore[misc]
        engine._runtime = None

    monkeypatch.setattr(tensorrt_module, "open_cuda", lambda: gpu)
    monkeypatch.setattr(tensorrt_module, "find_tensorrt", lambda: TensorRt(object(), "tensorrt", "10.0"))
    monkeypatch.setattr(TensorRtEngine, "_open", open_slots)
    return gpu


@pytest.mark.usefixtures("no_thread_left")
def test_batches_are_halved_until_the_memory_holds_them(
    bundle: Bundle, played: PlayedGpu, caplog: pytest.LogCaptureFixture
) -> None:
    with TensorRtEngine(bundle, EngineSettings(max_batch=8)) as engine:
        assert engine.max_batch == 2
        assert engine.precision == "f16"
        with pytest.raises(EngineError, match="1 to 2 frames"):
            engine.infer(np.zeros((3, 224, 224, 3), np.uint8))
    assert "max_batch is now 2" in caplog.text
    # One for `devices`, two that were too large, one that ran.
    assert played.closed == 4
    played.holds = 0
    with pytest.raises(EngineUnavailable, match="not enough free memory for a batch of one"):
        TensorRtEngine(bundle, EngineSettings(max_batch=4))


@pytest.mark.usefixtures("no_thread_left")
def test_a_gpu_that_disappears_fails_its_batches_and_hangs_nothing(bundle: Bundle, played: PlayedGpu) -> None:
    with TensorRtEngine(bundle, EngineSettings(max_batch=2)) as engine:
        frames = np.zeros((2, 224, 224, 3), np.uint8)
        assert len(engine.infer(frames).score) == 2
        played.lost = True
        futures = [engine.submit(frames) for _ in range(6)]
        for future in futures:
            with pytest.raises(EngineError, match="the device is lost"):
                future.result(10)
    with pytest.raises(EngineError, match="closed"):
        engine.infer(frames)


@pytest.mark.parametrize(
    ("status", "version", "words"),
    [
        ("cudaErrorInsufficientDriver", 12040, r"the driver is made for CUDA 12\.4\); install a newer NVIDIA driver"),
        ("cudaErrorNoDevice", 13000, "there is no NVIDIA GPU 0 in this machine"),
        ("cudaErrorInsufficientDriver", 0, "there is no NVIDIA driver on this machine"),
    ],
)
def test_a_driver_that_is_too_old_or_missing_is_named(status: str, version: int, words: str) -> None:
    from cuda.bindings import runtime

    class Runtime:
        """The real one, on a machine with another driver."""

        def __getattr__(self, name: str) -> Any:
            return getattr(runtime, name)

        def cudaGetDeviceCount(self) -> tuple[Any, int]:  # noqa: N802
            return getattr(runtime.cudaError_t, status), 0

        def cudaDriverGetVersion(self) -> tuple[Any, int]:  # noqa: N802
            return runtime.cudaError_t.cudaSuccess, version

    with pytest.raises(EngineUnavailable, match=words):
        _CudaPython(Runtime(), 0)


def test_torch_halves_its_batches_too(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def slot(engine: TorchEngine, _torch: Any) -> str:
        if engine.max_batch > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return "slot"

    monkeypatch.setattr(torch_module, "_CudaSlot", slot)
    with TorchEngine(bundle, EngineSettings(max_batch=1, device="cpu")) as engine:
        engine.max_batch = 16
        assert [str(slot) for slot in engine._cuda_slots(torch)] == ["slot", "slot"]
        assert engine.max_batch == 4
