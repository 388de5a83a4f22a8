"""The few CUDA operations that an engine needs, through pycuda where it is installed, else through cuda-python."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.closing import Closing
from engines.errors import EngineError

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
