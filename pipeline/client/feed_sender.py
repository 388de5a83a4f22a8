"""Frames for a line from another program on the same machine."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import zmq

from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from pipeline.protocol.feed import FEED_HIGH_WATER_MARK, FEED_VERSION
from pipeline.protocol.topics import safe_text


class FeedSender(Closing):
    """Sends frames to a line on the same machine. A context manager.

    Args:
        address: what the line file has after `feed:`.

    Raises:
        ConfigError: the address cannot be used.
    """

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, FEED_HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 1000)
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(f"'{address}' is no address of a feed ({error.strerror}); give ipc://PATH") from error

    def send(
        self,
        picture: npt.NDArray[np.uint8] | bytes,
        part: str | None = None,
        captured: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Sends a frame, and waits while the line takes none.

        Args:
            picture: uint8 `[H, W, 3]` BGR or `[H, W]` gray, or the bytes of a picture file.
            part: id of the part, for its verdict.
            captured: `time.monotonic_ns()` at capture; None for the time at which the line receives it.
            timeout: seconds to wait; None for ever.

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
        """Closes the socket once everything is sent, or after a second."""
        self._socket.close()
        self._context.term()
