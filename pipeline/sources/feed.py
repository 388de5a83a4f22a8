"""Frames from another program on this machine."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zmq

from engines.closing import Closing
from engines.errors import ConfigError, DataError
from engines.image import Image, to_8_bits
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.frame import Frame
from pipeline.protocol.feed import FEED_HIGH_WATER_MARK, FeedHeader, read_header
from pipeline.protocol.sockets import has_listener
from pipeline.sources.source import Source

log = logging.getLogger(__name__)

_LOCAL = ("tcp://127.0.0.1:", "tcp://localhost:", "tcp://[::1]:")
_MOST_BYTES = 128 << 20
_POLL_MS = 100


class FeedSource(Source):
    """Yields the frames that other programs on this machine send: every message is one frame.

    The socket is bound from the start, so that mistakes are reported before the engine loads, and senders that wait for
    the line lose nothing. A message that cannot be read still stands for a part that passed: its frame is answered
    `corrupt`.

    Args:
        camera: its name.
        address: `ipc://PATH`, or a TCP address of this machine.

    Raises:
        ConfigError: the address is in use, cannot be bound, or can be reached from outside.
    """

    def __init__(self, camera: str, address: str, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(camera, clock)
        if not address.startswith(("ipc://", *_LOCAL)):
            raise ConfigError(
                f"camera '{camera}': the feed {address} is not on this machine; give feed:ipc://PATH, or "
                "feed:tcp://127.0.0.1:PORT"
            )
        self._last = 0
        self._inbox = _Inbox(address)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields frames until `stop` is set, then those that have already arrived; closes the socket."""
        with self._inbox as inbox:
            while not stop.is_set():
                message = inbox.receive(_POLL_MS)
                if message is not None:
                    yield self._read(message)
            for _ in range(FEED_HIGH_WATER_MARK):
                message = inbox.receive(0)
                if message is None:
                    return
                yield self._read(message)

    def close(self) -> None:
        """Closes the socket, in case `frames` never ran."""
        self._inbox.close()

    def _read(self, message: list[zmq.Frame]) -> Frame:
        now_at, now = self._now()
        header, image, encoded, fault = FeedHeader(v=1), None, None, None
        try:
            header = read_header(message)
            if header.shape is None:
                encoded = message[1].bytes
            else:
                image = _read_pixels(message[1], header.shape)
        except DataError as error:
            fault = f"a message {error}"
        # Deadlines must be in the order of the frames, and no frame is captured in the future.
        self._last = max(self._last, now if header.captured is None else min(header.captured, now))
        captured_at = now_at - (now - self._last)
        return self._frame(captured_at, self._last, image=image, encoded=encoded, part=header.part, fault=fault)


class _Inbox(Closing):
    """The bound socket of a feed."""

    def __init__(self, address: str) -> None:
        if address.startswith("ipc://"):
            path = Path(address.removeprefix("ipc://"))
            if has_listener(path):
                raise ConfigError(f"the feed {address} is in use by another program; give another path")
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, FEED_HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MOST_BYTES)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"the feed {address} cannot be bound ({error.strerror}); give another address") from error

    def receive(self, timeout_ms: int) -> list[zmq.Frame] | None:
        """Waits for a message; None if none comes in time."""
        return self._socket.recv_multipart(copy=False) if self._socket.poll(timeout_ms) else None

    def close(self) -> None:
        self._socket.close()
        self._context.term()


def _read_pixels(data: zmq.Frame, shape: tuple[int, ...]) -> Image:
    if len(data) != math.prod(shape):
        raise DataError(f"has {len(data)} bytes of pixels, but its shape {list(shape)} needs {math.prod(shape)}")
    pixels = np.frombuffer(data.buffer, np.uint8).reshape(shape)
    return pixels if pixels.shape[2:] == (3,) else to_8_bits(pixels)
