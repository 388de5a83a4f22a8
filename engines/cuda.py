"""The few CUDA operations that an engine needs, through pycuda if it is installed, otherwise cuda-python."""

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
    """A call to CUDA failed; the text repeats CUDA's own message."""


class CudaOutOfMemory(CudaError):
    """The GPU is out of memory."""


class Cuda(Closing):
    """One GPU: its memory, streams, events and graphs. Closing it frees everything allocated through it.

    Streams and pointers are plain integers, as TensorRT expects them. No call waits for the whole device.

    Attributes:
        device: the GPU's name.
        capability: its compute capability, such as (8, 9).
    """

    device: str
    capability: Capability

    @abstractmethod
    @contextmanager
    def current(self) -> Iterator[None]:
        """Makes the GPU current in the calling thread, which every other method requires."""

    @abstractmethod
    def allocate(self, size: int) -> int:
        """Allocates GPU memory and returns its address.

        Raises:
            CudaOutOfMemory: not enough memory is left.
        """

    @abstractmethod
    def page_locked(self, shape: tuple[int, ...], kind: type[np.generic]) -> Array:
        """Allocates a page-locked array on the host, which can be copied directly and while the GPU computes."""

    @abstractmethod
    def stream(self) -> int:
        """Creates a stream that does not wait for the default one."""

    @abstractmethod
    def event(self) -> Any:
        """Creates an event; a thread that waits for it sleeps."""

    @abstractmethod
    def record(self, event: Any, stream: int) -> None:
        """Records an event, which happens once the stream has done everything before it."""

    @abstractmethod
    def wait(self, event: Any) -> None:
        """Sleeps until an event happens."""

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
        """Captures what `record` puts on a stream, and returns a function that launches all of it at once.

        Returns `record` itself if graphs are not available.
        """
