"""CUDA through cuda-python, which captures graphs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from engines.cuda import Array, Cuda, CudaError, CudaOutOfMemory, Launch
from engines.errors import EngineUnavailable


class CudaPython(Cuda):
    """Uses `cuda.bindings.runtime`."""

    def __init__(self, runtime: Any, index: int) -> None:
        self._runtime, self._index = runtime, index
        self._frees: list[Callable[[], Any]] = []
        count, driver = self._count(), self._call(runtime.cudaDriverGetVersion())
        if not driver:
            raise EngineUnavailable("there is no NVIDIA driver on this machine; install one, or use another engine")
        if isinstance(count, str):
            raise EngineUnavailable(
                f"CUDA cannot start ({count}; the driver is made for CUDA {driver // 1000}.{driver % 1000 // 10}); "
                "install a newer NVIDIA driver, or use another engine"
            )
        if count <= index:
            raise EngineUnavailable(f"there is no NVIDIA GPU {index} in this machine; use another engine")
        self._call(runtime.cudaSetDevice(index))
        kinds = runtime.cudaDeviceAttr
        major, minor = (
            int(self._call(runtime.cudaDeviceGetAttribute(kind, index)))
            for kind in (kinds.cudaDevAttrComputeCapabilityMajor, kinds.cudaDevAttrComputeCapabilityMinor)
        )
        self.capability = major, minor
        name = self._call(runtime.cudaGetDeviceProperties(index)).name
        self.device = name.decode().rstrip("\0") if isinstance(name, bytes) else str(name)

    @contextmanager
    def current(self) -> Iterator[None]:
        self._call(self._runtime.cudaSetDevice(self._index))
        yield

    def allocate(self, size: int) -> int:
        pointer = int(self._call(self._runtime.cudaMalloc(size)))
        self._frees.append(lambda: self._runtime.cudaFree(pointer))
        return pointer

    def page_locked(self, shape: tuple[int, ...], kind: type[np.generic]) -> Array:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        pointer = int(self._call(self._runtime.cudaHostAlloc(size, self._runtime.cudaHostAllocDefault)))
        self._frees.append(lambda: self._runtime.cudaFreeHost(pointer))
        memory = memoryview((ctypes.c_uint8 * size).from_address(pointer))
        return np.frombuffer(memory, np.uint8).view(kind).reshape(shape)

    def stream(self) -> int:
        stream = self._call(self._runtime.cudaStreamCreateWithFlags(self._runtime.cudaStreamNonBlocking))
        self._frees.append(lambda: self._runtime.cudaStreamDestroy(stream))
        return int(stream)

    def event(self) -> Any:
        flags = self._runtime.cudaEventDisableTiming | self._runtime.cudaEventBlockingSync
        event = self._call(self._runtime.cudaEventCreateWithFlags(flags))
        self._frees.append(lambda: self._runtime.cudaEventDestroy(event))
        return event

    def record(self, event: Any, stream: int) -> None:
        self._call(self._runtime.cudaEventRecord(event, stream))

    def wait(self, event: Any) -> None:
        self._call(self._runtime.cudaEventSynchronize(event))

    def copy_in(self, target: int, source: Array, stream: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call(self._runtime.cudaMemcpyAsync(target, source.ctypes.data, source.nbytes, kind, stream))

    def copy_out(self, target: Array, source: int, stream: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call(self._runtime.cudaMemcpyAsync(target.ctypes.data, source, target.nbytes, kind, stream))

    def synchronise(self, stream: int) -> None:
        self._call(self._runtime.cudaStreamSynchronize(stream))

    def capture(self, stream: int, record: Launch) -> Launch:
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call(self._runtime.cudaStreamBeginCapture(stream, mode))
        try:
            record()
        finally:
            graph = self._call(self._runtime.cudaStreamEndCapture(stream))
        ready = self._call(self._runtime.cudaGraphInstantiate(graph, 0))
        self._call(self._runtime.cudaGraphDestroy(graph))
        self._frees.append(lambda: self._runtime.cudaGraphExecDestroy(ready))

        def launch() -> None:
            self._call(self._runtime.cudaGraphLaunch(ready, stream))

        return launch

    def close(self) -> None:
        """Frees everything, newest first; what a lost GPU refuses to free is gone with it."""
        while self._frees:
            self._frees.pop()()

    def _count(self) -> int | str:
        status, count = self._runtime.cudaGetDeviceCount()
        if int(status) == 0:
            return int(count)
        if status == self._runtime.cudaError_t.cudaErrorNoDevice:
            return 0
        return self._describe(status)

    def _call(self, result: tuple[Any, ...]) -> Any:
        status = result[0]
        if int(status) == 0:
            return result[1] if len(result) > 1 else None
        kind = CudaOutOfMemory if status == self._runtime.cudaError_t.cudaErrorMemoryAllocation else CudaError
        raise kind(f"CUDA failed: {self._describe(status)}")

    def _describe(self, status: Any) -> str:
        text = self._runtime.cudaGetErrorString(status)[1]
        return text.decode() if isinstance(text, bytes) else str(text)
