"""What a GPU can do wrong, tried without one: the driver and TensorRT are played, the engine is real."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from engines import plans as plans_module
from engines import tensorrt as tensorrt_module
from engines import torch as torch_module
from engines.bundle import Bundle
from engines.cache import store
from engines.cuda import Cuda, CudaError, CudaOutOfMemory, Launch
from engines.cuda_python import CudaPython
from engines.engine import EngineSettings
from engines.errors import EngineError, EngineUnavailable
from engines.failover import FailoverEngine
from engines.plans import TensorRt, plan_path
from engines.registry import open_engine
from engines.tensorrt import TensorRtEngine
from engines.torch import TorchEngine
from tests.engines.faulty import CELLS, SIDE, picture

PIXELS = SIDE * SIDE * 3
JOBS = 2


class HostCuda(Cuda):
    """A GPU whose memory is the host's: it holds batches of so many frames, and can be lost."""

    device, capability = "played GPU", (8, 9)

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._held: dict[int, npt.NDArray[np.uint8]] = {}
        self._room = gpu.holds * JOBS * PIXELS

    @contextmanager
    def current(self) -> Iterator[None]:
        yield

    def allocate(self, size: int) -> int:
        memory = np.zeros(size, np.uint8)
        # Outputs and scratch memory are small beside the frames.
        self._room -= size if size >= PIXELS else 0
        if self._room < 0:
            raise CudaOutOfMemory("CUDA failed: out of memory")
        self._held[memory.ctypes.data] = memory
        return memory.ctypes.data

    def page_locked(self, shape: tuple[int, ...], kind: type[np.generic]) -> npt.NDArray[Any]:
        return np.zeros(shape, kind)

    def stream(self) -> int:
        return 1

    def event(self) -> object:
        return object()

    def record(self, event: object, stream: int) -> None:
        self._check()

    def wait(self, event: object) -> None:
        self._check()

    def copy_in(self, target: int, source: npt.NDArray[Any], stream: int) -> None:
        self._check()
        ctypes.memmove(target, source.ctypes.data, source.nbytes)

    def copy_out(self, target: npt.NDArray[Any], source: int, stream: int) -> None:
        self._check()
        ctypes.memmove(target.ctypes.data, source, target.nbytes)

    def synchronise(self, stream: int) -> None:
        self._check()

    def capture(self, stream: int, record: Launch) -> Launch:
        return record

    def close(self) -> None:
        self._held.clear()
        self._gpu.closed += 1

    def _check(self) -> None:
        if self._gpu.lost:
            raise CudaError("CUDA failed: the device is lost")


class Context:
    """An execution context that scores a frame by its mean."""

    def set_device_memory(self, address: int, size: int) -> None: ...

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._count = shape[0]
        self._addresses: dict[str, int] = {}
        return True

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        raw = ctypes.string_at(self._addresses["frames"], self._count * PIXELS)
        mean = np.frombuffer(raw, np.uint8).reshape(self._count, -1).mean(1).astype(np.float32)
        heatmap = np.repeat(mean, CELLS * CELLS)
        ctypes.memmove(self._addresses["score"], mean.ctypes.data, mean.nbytes)
        ctypes.memmove(self._addresses["heatmap"], heatmap.ctypes.data, heatmap.nbytes)
        return True


class Runtime:
    """TensorRT's runtime, which loads any plan."""

    def __init__(self, logger: object) -> None: ...

    def deserialize_cuda_engine(self, plan: bytes) -> object:
        assert plan == b"plan"
        return SimpleNamespace(create_execution_context=lambda _strategy: Context(), device_memory_size_v2=1)


class Logger:
    """TensorRT's logger."""

    ERROR = 1

    def __init__(self, severity: int) -> None: ...


class Gpu:
    """A machine with such a GPU and TensorRT on it.

    Attributes:
        holds: frames a batch may have.
        lost: whether the GPU is gone.
        closed: how often its memory was freed.
    """

    def __init__(self, holds: int) -> None:
        self.holds, self.lost, self.closed = holds, False, 0
        api = SimpleNamespace(
            Logger=Logger, ILogger=Logger, Runtime=Runtime, IBuilderConfig=object,
            ExecutionContextAllocationStrategy=SimpleNamespace(USER_MANAGED=0),
        )  # fmt: skip
        self.tensorrt = TensorRt(api, "tensorrt", "10.0")


@pytest.fixture
def gpu(faulty: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    made = Gpu(holds=3)
    monkeypatch.setenv("TAKTLINE_CACHE", str(tmp_path))
    monkeypatch.setattr(tensorrt_module, "open_cuda", lambda: HostCuda(made))
    for module in (tensorrt_module, plans_module):
        monkeypatch.setattr(module, "find_tensorrt", lambda: made.tensorrt)
    for count in (1, 2, 4, 8):
        store(plan_path(faulty, made.tensorrt, "f16", count, (8, 9), HostCuda.device), b"plan")
    return made


@pytest.mark.usefixtures("no_thread_left")
def test_batches_are_halved_until_the_memory_holds_them(
    faulty: Bundle, gpu: Gpu, caplog: pytest.LogCaptureFixture
) -> None:
    with TensorRtEngine(faulty, EngineSettings(max_batch=8)) as engine:
        assert engine.max_batch == 2
        assert engine.precision == "f16"
        futures = [engine.submit(np.concatenate([picture(value), picture(value + 1)])) for value in (1, 5, 9, 200)]
        assert [future.result(10).score.tolist() for future in futures] == [[1, 2], [5, 6], [9, 10], [200, 201]]
        assert futures[0].result().heatmap[1].tolist() == np.full((CELLS, CELLS), 2).tolist()
        with pytest.raises(EngineError, match="1 to 2 frames"):
            engine.infer(picture(1, 3))
    assert "max_batch is now 2" in caplog.text
    # One for `devices`, two that were too large, one that ran.
    assert gpu.closed == 4
    gpu.holds = 0
    with pytest.raises(EngineUnavailable, match="enough free memory for a batch of one"):
        TensorRtEngine(faulty, EngineSettings(max_batch=4))


@pytest.mark.usefixtures("no_thread_left")
def test_a_gpu_that_disappears_fails_its_batches_and_hangs_nothing(faulty: Bundle, gpu: Gpu) -> None:
    with TensorRtEngine(faulty, EngineSettings(max_batch=2)) as engine:
        assert engine.infer(picture(7, 2)).score.tolist() == [7, 7]
        gpu.lost = True
        for _ in range(6):
            with pytest.raises(EngineError, match="the device is lost"):
                engine.infer(picture(7, 2))
    with pytest.raises(EngineError, match="closed"):
        engine.infer(picture(7))


@pytest.mark.usefixtures("no_thread_left")
def test_a_lost_gpu_is_replaced_by_the_cpu(faulty: Bundle, gpu: Gpu) -> None:
    openers = [
        lambda: open_engine(faulty, "tensorrt", "f16", 2),
        lambda: open_engine(faulty, "onnxruntime", "f32", 2, "cpu"),
    ]
    with FailoverEngine(openers) as engine:
        assert engine.infer(picture(7, 2)).score.tolist() == [7, 7]
        gpu.lost = True
        for _ in range(3):
            with pytest.raises(EngineError, match="the device is lost"):
                engine.infer(picture(7))
        assert engine.infer(picture(9, 2)).score.tolist() == [9, 9]
        assert engine.name == "onnxruntime"


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
        CudaPython(Runtime(), 0)


def test_torch_halves_its_batches_too(faulty: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def slot(engine: TorchEngine, _torch: Any) -> str:
        if engine.max_batch > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return "slot"

    monkeypatch.setattr(torch_module, "_CudaSlot", slot)
    with TorchEngine(faulty, EngineSettings(max_batch=1, device="cpu")) as engine:
        engine.max_batch = 16
        assert [str(slot) for slot in engine._cuda_slots(torch)] == ["slot", "slot"]
        assert engine.max_batch == 4
