"""The few CUDA operations that an engine needs, through pycuda where it is installed, else through cuda-python."""

from __future__ import annotations

import ctypes
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.closing import Closing
from engines.errors import EngineError, EngineUnavailable
from engines.extras import require

Array = npt.NDArray[Any]
Launch = Callable[[], None]
Capability = tuple[int, int]


class CudaError(EngineError):
    """A call to CUDA failed; the text has CUDA's own."""


class CudaOutOfMemory(CudaError):
    """The GPU has no memory left."""


class Cuda(Closing):
    """One GPU: its memory, streams, events and graphs. Closing it frees all that was asked of it.

    Streams and pointers are plain integers, as TensorRT takes them. Nothing here waits for the whole device.

    Attributes:
        device: the GPU's name.
        capability: its compute capability, such as (8, 9).
    """

    device: str
    capability: Capability

    @abstractmethod
    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes the GPU the calling thread's, as every other call here wants it."""

    @abstractmethod
    def allocate(self, size: int) -> int:
        """Allocates bytes of the GPU's memory and returns their address.

        Raises:
            CudaOutOfMemory: there are not so many.
        """

    @abstractmethod
    def page_locked(self, shape: tuple[int, ...], kind: type[np.generic]) -> Array:
        """Allocates a page-locked array on the host, which copies without a detour and beside computation."""

    @abstractmethod
    def stream(self) -> int:
        """Makes a stream that does not wait for the default one."""

    @abstractmethod
    def event(self) -> Any:
        """Makes an event whose waiting thread sleeps."""

    @abstractmethod
    def record(self, event: Any, stream: int) -> None:
        """Lets an event happen when the stream has come this far."""

    @abstractmethod
    def wait(self, event: Any) -> None:
        """Sleeps until an event has happened."""

    @abstractmethod
    def copy_in(self, target: int, source: Array, stream: int) -> None:
        """Starts a copy from a page-locked array to the GPU."""

    @abstractmethod
    def copy_out(self, target: Array, source: int, stream: int) -> None:
        """Starts a copy from the GPU to a page-locked array."""

    @abstractmethod
    def synchronise(self, stream: int) -> None:
        """Waits for one stream."""

    @abstractmethod
    def capture(self, stream: int, record: Launch) -> Launch:
        """Captures what `record` puts on a stream and returns what launches all of it at once, where graphs can be
        had; else returns `record`."""


def open_cuda(index: int = 0) -> Cuda:
    """Opens a GPU.

    Raises:
        EngineUnavailable: there is no GPU, no driver, a driver that is too old, or no package; the text says which.
    """
    try:
        driver = require("pycuda.driver", "pycuda", EngineUnavailable)
    except EngineUnavailable:
        return _CudaPython(require("cuda.bindings.runtime", "cuda", EngineUnavailable), index)
    return _PyCuda(driver, index)


class _CudaPython(Cuda):
    """Through `cuda.bindings.runtime`."""

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
        """Frees everything, the youngest first; what a lost GPU refuses to free is gone with it."""
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


class _PyCuda(Cuda):
    """Through `pycuda.driver`, on the GPU's primary context, which TensorRT uses too.

    Its releases do not capture graphs; batches are put on the stream call by call.
    """

    def __init__(self, driver: Any, index: int) -> None:
        self._driver = driver
        try:
            driver.init()
            if driver.Device.count() <= index:
                raise EngineUnavailable(f"there is no NVIDIA GPU {index} in this machine; use another engine")
            device = driver.Device(index)
            self._context = device.retain_primary_context()
        except driver.Error as error:
            raise EngineUnavailable(f"CUDA cannot start ({error}); install a newer NVIDIA driver") from error
        self.device, self.capability = device.name(), device.compute_capability()
        self._streams: dict[int, Any] = {}
        self._held: list[Any] = []

    @contextmanager
    def current(self) -> Iterator[None]:
        with self._translated():
            self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def allocate(self, size: int) -> int:
        with self._translated():
            memory = self._driver.mem_alloc(size)
        self._held.append(memory)
        return int(memory)

    def page_locked(self, shape: tuple[int, ...], kind: type[np.generic]) -> Array:
        with self._translated():
            array: Array = self._driver.pagelocked_empty(shape, kind)
        return array

    def stream(self) -> int:
        with self._translated():
            stream = self._driver.Stream(1)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def event(self) -> Any:
        flags = self._driver.event_flags
        with self._translated():
            return self._driver.Event(flags.BLOCKING_SYNC | flags.DISABLE_TIMING)

    def record(self, event: Any, stream: int) -> None:
        with self._translated():
            event.record(self._streams[stream])

    def wait(self, event: Any) -> None:
        with self._translated():
            event.synchronize()

    def copy_in(self, target: int, source: Array, stream: int) -> None:
        with self._translated():
            self._driver.memcpy_htod_async(target, source, self._streams[stream])

    def copy_out(self, target: Array, source: int, stream: int) -> None:
        with self._translated():
            self._driver.memcpy_dtoh_async(target, source, self._streams[stream])

    def synchronise(self, stream: int) -> None:
        with self._translated():
            self._streams[stream].synchronize()

    def capture(self, stream: int, record: Launch) -> Launch:
        del stream
        return record

    def close(self) -> None:
        """Frees everything."""
        with self.current():
            for memory in self._held:
                memory.free()
            self._held.clear()
            self._streams.clear()
        self._context.detach()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._driver.MemoryError as error:
            raise CudaOutOfMemory(f"CUDA failed: {error}") from error
        except self._driver.Error as error:
            raise CudaError(f"CUDA failed: {error}") from error
