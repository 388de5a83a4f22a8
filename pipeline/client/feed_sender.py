"""Sends frames to a line from another program on the same machine."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import zmq

from engines.closing import Closing, closed_on_error
from engines.errors import TaktlineError
from pipeline.protocol.feed import FEED_HIGH_WATER_MARK, FEED_VERSION
from pipeline.protocol.sockets import connect
from pipeline.protocol.topics import safe_text


class FeedSender(Closing):
    """Sends frames to a line on the same machine. A context manager.

    Args:
        address: the part after `feed:` in the line file.

    Raises:
        ConfigError: the address cannot be used.
    """

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, FEED_HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 1000)
        with closed_on_error(self):
            connect(self._socket, address, "ipc://PATH")

    def send(
        self,
        picture: npt.NDArray[np.uint8] | bytes,
        part: str | None = None,
        captured: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Sends a frame, waiting while the line takes none.

        Args:
            picture: uint8 `[H, W, 3]` BGR or `[H, W]` gray, or the bytes of a picture file.
            part: id of the part, which its verdict will carry.
            captured: `time.monotonic_ns()` at capture; None for the time when the line receives it.
            timeout: seconds to wait; None to wait forever.

        Raises:
            TaktlineError: the line took none within `timeout`.
        """
        header: dict[str, Any] = {"v": FEED_VERSION, "part": part and safe_text(part), "captured": captured}
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
        """Closes the socket once everything is sent, or after one second."""
        self._socket.close()
        self._context.term()
