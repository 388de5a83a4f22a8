"""Frames that another program of this machine hands over: one that grabs them itself, or one that measures the line."""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgpack
import numpy as np
import zmq
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from engines.closing import Closing
from engines.errors import ConfigError, DataError, TaktlineError
from engines.image import Image, to_8_bits
from pipeline.frames import Frame
from pipeline.sources.source import Source

log = logging.getLogger(__name__)

FEED_VERSION = 1
_LOCAL = ("tcp://127.0.0.1:", "tcp://localhost:", "tcp://[::1]:")
_MOST_BYTES = 128 << 20
_MOST_HEADER_BYTES = 4096
# Messages that wait at either end of the connection: enough for a hiccup, and little memory.
_HIGH_WATER_MARK = 16
_POLL_MS = 100

Side = Annotated[StrictInt, Field(ge=1, le=65536)]


class _Header(BaseModel):
    """The first part of a message; the second holds the picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1]
    part: Annotated[StrictStr, Field(max_length=256)] | None = None
    captured: Annotated[StrictInt, Field(ge=0)] | None = None
    shape: tuple[Side, Side] | tuple[Side, Side, Literal[1, 3]] | None = None


class FeedSource(Source):
    """Yields the frames that other programs of this machine send: every message is one frame.

    A message that cannot be read is a part that passed all the same: its frame is answered as corrupt.

    Args:
        camera: its name.
        address: `ipc://PATH`, or a TCP address of this machine.

    Raises:
        ConfigError: the address is taken, cannot be bound, or can be reached from outside.
    """

    def __init__(self, camera: str, address: str) -> None:
        super().__init__(camera)
        if not address.startswith(("ipc://", *_LOCAL)):
            raise ConfigError(
                f"camera '{camera}': the feed {address} is none of this machine; give feed:ipc://PATH, or "
                "feed:tcp://127.0.0.1:PORT"
            )
        self._address = address
        self._last = 0
        # Tried now, so that a mistake is told before the engine loads.
        with _Inbox(address):
            pass

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields frames until `stop` is set, and then those that had come by then."""
        with _Inbox(self._address) as inbox:
            while not stop.is_set():
                message = inbox.receive(_POLL_MS)
                if message is not None:
                    yield self._frame(message)
            for _ in range(_HIGH_WATER_MARK):
                message = inbox.receive(0)
                if message is None:
                    return
                yield self._frame(message)

    def _frame(self, message: list[zmq.Frame]) -> Frame:
        now_at, now = time.time_ns(), time.monotonic_ns()
        header, image, encoded, fault = _Header(v=1), None, None, None
        try:
            header = _read_header(message)
            if header.shape is None:
                encoded = message[1].bytes
            else:
                image = _read_pixels(message[1], header.shape)
        except DataError as error:
            fault = f"a message {error}"
        # Deadlines must come in the order of the frames, and nothing is captured in the future.
        self._last = max(self._last, now if header.captured is None else min(header.captured, now))
        captured_at = now_at - (now - self._last)
        sequence = self._sequence
        self._sequence += 1
        return Frame(self.camera, sequence, image, captured_at, self._last, encoded, part=header.part, fault=fault)


class FeedSender(Closing):
    """Hands frames to a line from another program of the same machine. A context manager.

    Args:
        address: what the line file has after `feed:`.

    Raises:
        ConfigError: the address is none.
    """

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, _HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 1000)
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"'{address}' is no address of a feed ({error.strerror}); give ipc://PATH") from error

    def send(
        self,
        picture: Image | bytes,
        part: str | None = None,
        captured: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Sends a frame; waits while the line takes none.

        Args:
            picture: uint8 `[H, W, 3]` BGR or `[H, W]` gray, or the bytes of a picture file.
            part: id of the part, for its verdict.
            captured: `time.monotonic_ns()` when it was captured; None for when the line receives it.
            timeout: seconds to wait; None for ever.

        Raises:
            TaktlineError: the line takes none for so long.
        """
        header: dict[str, Any] = {"v": FEED_VERSION, "part": part, "captured": captured}
        if isinstance(picture, bytes):
            body = memoryview(picture)
        else:
            header["shape"] = list(picture.shape)
            body = np.ascontiguousarray(picture).data
        self._socket.setsockopt(zmq.SNDTIMEO, -1 if timeout is None else round(timeout * 1000))
        try:
            self._socket.send_multipart([msgpack.packb(header), body])
        except zmq.Again as error:
            raise TaktlineError(f"the line took no frame for {timeout:g} s; is it running?") from error

    def close(self) -> None:
        """Closes the socket once what was sent is out, or after a second."""
        self._socket.close()
        self._context.term()


class _Inbox(Closing):
    """The bound socket of a feed."""

    def __init__(self, address: str) -> None:
        if address.startswith("ipc://"):
            _free_path(Path(address.removeprefix("ipc://")))
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.RCVHWM, _HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MOST_BYTES)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"the feed {address} cannot be bound ({error.strerror}); give another address") from error

    def receive(self, timeout_ms: int) -> list[zmq.Frame] | None:
        """Waits for a message; None where none comes in time."""
        return self._socket.recv_multipart(copy=False) if self._socket.poll(timeout_ms) else None

    def close(self) -> None:
        self._socket.close()
        self._context.term()


def _read_header(message: list[zmq.Frame]) -> _Header:
    if len(message) != 2:
        raise DataError(f"has {len(message)} parts; a frame has a header and a picture")
    if len(message[0]) > _MOST_HEADER_BYTES:
        raise DataError(f"has a header of {len(message[0])} bytes, which is too long")
    try:
        values = msgpack.unpackb(message[0].bytes, strict_map_key=True, max_map_len=8, max_array_len=3)
        return _Header.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"has a header whose '{'.'.join(map(str, first['loc']))}' is wrong ({first['msg']})") from error
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise DataError("has a header that is not msgpack") from error


def _read_pixels(data: zmq.Frame, shape: tuple[int, ...]) -> Image:
    if len(data) != math.prod(shape):
        raise DataError(f"has {len(data)} bytes of pixels, and its shape {list(shape)} wants {math.prod(shape)}")
    pixels = np.frombuffer(data.buffer, np.uint8).reshape(shape)
    return pixels if pixels.shape[2:] == (3,) else to_8_bits(pixels)


def _free_path(path: Path) -> None:
    """Refuses a socket file that another program has bound: binding would take it over."""
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            # Nobody is behind it any more; ZeroMQ binds over it.
            return
    raise ConfigError(f"the feed ipc://{path} is in use by another program; give another path")
