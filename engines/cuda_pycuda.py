"""CUDA through pycuda."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from engines.cuda import Array, Cuda, CudaError, CudaOutOfMemory, Launch
from engines.errors import EngineUnavailable


class PyCuda(Cuda):
    """Uses `pycuda.driver` on the GPU's primary context, which TensorRT uses too.

    pycuda cannot capture graphs, so each batch is enqueued call by call.
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
