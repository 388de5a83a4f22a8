"""What a line publishes beside its verdicts, as another process receives it: the newest, and none that was missed."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cached_property
from typing import ClassVar, Generic, Protocol, TypeVar

import zmq
import zmq.asyncio

from engines.closing import AsyncClosing, Closing
from pipeline.client.sockets import open_topics
from pipeline.security.curve import ClientKeys

_WAITING = 64
_POLL_MS = 100


class _OfCamera(Protocol):
    @property
    def camera(self) -> str: ...


T = TypeVar("T", bound=_OfCamera)


class TopicCore(Generic[T]):
    """Owns the socket and never waits on it.

    Attributes:
        topic: what the topics begin with.
        kind: what a message is called in errors.
        by_camera: whether a topic ends with the camera's name.
    """

    topic: ClassVar[str]
    kind: ClassVar[str]
    by_camera: ClassVar[bool] = False

    def __init__(self, address: str, cameras: Sequence[str] = (), curve: ClientKeys | None = None) -> None:
        self._cameras = tuple(cameras)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        wanted = cameras if self.by_camera else ()
        try:
            self._socket = open_topics(self._context, address, self.topic, wanted, _WAITING, curve)
        except BaseException:
            self._context.term()
            raise

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
        self._context.term()

    @abstractmethod
    def _read(self, parts: list[bytes]) -> T:
        """Reads a message.

        Raises:
            WireError: it is none of this kind.
        """

    def _take(self) -> T | None:
        """Takes a message about one of the wanted cameras, if one has come.

        Raises:
            WireError: a message arrived that is none of this kind.
        """
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            found = self._read(parts)
            # ZeroMQ matches the beginning of a topic: 'cam1' would also match 'cam10'.
            if not self._cameras or found.camera in self._cameras:
                return found


class TopicSubscriber(TopicCore[T], Closing):
    """Receives messages of one kind. A context manager and an iterator."""

    def receive(self, timeout: float | None = None) -> T:
        """Waits for the next one.

        Args:
            timeout: seconds to wait; None to wait forever.

        Raises:
            TimeoutError: none came in time.
            WireError: a message arrived that is none of this kind, or has another version.
        """
        for wait_ms in _waits(timeout):
            found = self._take()
            if found is not None:
                return found
            self._socket.poll(wait_ms)
        raise TimeoutError(f"no {self.kind} within {timeout:g} s")

    def __iter__(self) -> Iterator[T]:
        while True:
            yield self.receive()


class AsyncTopicSubscriber(TopicCore[T], AsyncClosing):
    """Receives messages of one kind, for asyncio. An asynchronous context manager and iterator."""

    @cached_property
    def _poller(self) -> zmq.asyncio.Poller:
        poller = zmq.asyncio.Poller()
        poller.register(self._socket, zmq.POLLIN)
        return poller

    async def receive(self, timeout: float | None = None) -> T:
        """Waits for the next one; arguments and errors are those of `TopicSubscriber.receive`."""
        for wait_ms in _waits(timeout):
            found = self._take()
            if found is not None:
                return found
            await self._poller.poll(wait_ms)
        raise TimeoutError(f"no {self.kind} within {timeout:g} s")

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            yield await self.receive()


def _waits(timeout: float | None) -> Iterator[int]:
    """Yields how many milliseconds to poll, until time is up; the last one is 0."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while deadline is None or (left := deadline - time.monotonic()) > 0:
        yield _POLL_MS if deadline is None else min(_POLL_MS, int(left * 1000) + 1)
    yield 0
