"""Previews as another process receives them: the newest, and none that was missed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import cached_property

import zmq
import zmq.asyncio

from engines.closing import AsyncClosing, Closing
from pipeline.client.sockets import open_topics
from pipeline.protocol.preview import PREVIEW_TOPIC, Preview, unpack_preview
from pipeline.security.curve import ClientKeys

_WAITING = 64
_POLL_MS = 100


class _PreviewCore:
    """Owns the socket and never waits on it."""

    def __init__(self, address: str, cameras: Sequence[str] = (), curve: ClientKeys | None = None) -> None:
        self._cameras = tuple(cameras)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._socket = open_topics(self._context, address, PREVIEW_TOPIC, cameras, _WAITING, curve)
        except BaseException:
            self._context.term()
            raise

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
        self._context.term()

    def _take(self) -> Preview | None:
        """Takes a preview of one of the wanted cameras, if one has come.

        Raises:
            WireError: a message arrived that is not a preview.
        """
        while True:
            try:
                parts = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return None
            preview = unpack_preview(parts)
            # ZeroMQ matches the beginning of a topic: 'cam1' would also match 'cam10'.
            if not self._cameras or preview.camera in self._cameras:
                return preview


class PreviewSubscriber(_PreviewCore, Closing):
    """Receives the small pictures that a line with `[publish] previews` makes. A context manager and an iterator.

    A line makes them only while somebody subscribes. They are not repeated: what comes while you are away or too slow
    is lost. `camera`, `epoch` and `sequence` name the verdict that a picture belongs to.

    Args:
        address: where the line publishes, such as `tcp://127.0.0.1:5556`.
        cameras: only these cameras; all if empty.
        curve: keys, for a line that uses CURVE.

    Raises:
        ConfigError: the address cannot be used.
    """

    def receive(self, timeout: float | None = None) -> Preview:
        """Waits for the next preview.

        Args:
            timeout: seconds to wait; None to wait forever.

        Raises:
            TimeoutError: none came in time.
            WireError: a message arrived that is not a preview, or has another version.
        """
        for wait_ms in _waits(timeout):
            preview = self._take()
            if preview is not None:
                return preview
            self._socket.poll(wait_ms)
        raise TimeoutError(f"no preview within {timeout:g} s")

    def __iter__(self) -> Iterator[Preview]:
        while True:
            yield self.receive()


class AsyncPreviewSubscriber(_PreviewCore, AsyncClosing):
    """Receives previews as `PreviewSubscriber` does, for asyncio. An asynchronous context manager and iterator."""

    @cached_property
    def _poller(self) -> zmq.asyncio.Poller:
        poller = zmq.asyncio.Poller()
        poller.register(self._socket, zmq.POLLIN)
        return poller

    async def receive(self, timeout: float | None = None) -> Preview:
        """Waits for the next preview; arguments and errors are those of `PreviewSubscriber.receive`."""
        for wait_ms in _waits(timeout):
            preview = self._take()
            if preview is not None:
                return preview
            await self._poller.poll(wait_ms)
        raise TimeoutError(f"no preview within {timeout:g} s")

    async def __aiter__(self) -> AsyncIterator[Preview]:
        while True:
            yield await self.receive()


def _waits(timeout: float | None) -> Iterator[int]:
    """Yields how many milliseconds to poll, until time is up; the last one is 0."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while deadline is None or (left := deadline - time.monotonic()) > 0:
        yield _POLL_MS if deadline is None else min(_POLL_MS, int(left * 1000) + 1)
    yield 0
