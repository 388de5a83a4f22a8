"""Verdicts as another process receives them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import zmq

from engines.closing import Closing
from engines.errors import ConfigError
from pipeline.delivery.curve import ClientKeys
from pipeline.delivery.publisher import HIGH_WATER_MARK
from pipeline.verdicts import TOPIC, Heatmap, Verdict, unpack

_MAX_MESSAGE_BYTES = 16 << 20
_POLL_MS = 200


class VerdictSubscriber(Closing):
    """Receives a line's verdicts. A context manager, and an iterator that waits for the next one.

    PUB/SUB alone loses what was published before the connection stood, or while it was broken.

    Args:
        address: where the line publishes, such as `tcp://127.0.0.1:5556`.
        cameras: only these cameras; all when empty.
        curve: for a line that lets those only in that it knows.

    Raises:
        ConfigError: the address is none.
    """

    def __init__(self, address: str, cameras: tuple[str, ...] = (), curve: ClientKeys | None = None) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)
        self._cameras = frozenset(cameras)
        for topic in [f"{TOPIC}{camera}" for camera in cameras] or [TOPIC]:
            self._socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
        if curve is not None:
            curve.apply(self._socket)
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                f"'{address}' is no address to subscribe to ({error.strerror}); give one like tcp://127.0.0.1:5556"
            ) from error

    def receive(self, timeout: float | None = None) -> tuple[Verdict, Heatmap | None]:
        """Waits for the next verdict.

        Args:
            timeout: seconds to wait; None for ever.

        Raises:
            TimeoutError: nothing came in time.
            WireError: a message came that is no verdict.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = _POLL_MS if deadline is None else int((deadline - time.monotonic()) * 1000)
            if self._socket.poll(max(0, min(left, _POLL_MS))):
                verdict, heatmap = unpack(self._socket.recv_multipart())
                # ZeroMQ matches topics by their beginning: 'cam1' would also bring 'cam10'.
                if not self._cameras or verdict.camera in self._cameras:
                    return verdict, heatmap
            elif left <= 0:
                raise TimeoutError(f"no verdict within {timeout:g} s")

    def __iter__(self) -> Iterator[Verdict]:
        while True:
            yield self.receive()[0]

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
        self._context.term()
