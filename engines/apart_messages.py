"""What the two halves of an `EngineApart` send each other: msgpack maps, each after its length."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

import msgpack

_HEAD = struct.Struct("!I")


def _go_on() -> None:
    """Waits for as long as it takes."""


def send(connection: socket.socket, message: dict[str, Any], waiting: Callable[[], None] = _go_on) -> None:
    """Sends a message.

    Args:
        connection: a connected stream socket.
        message: what msgpack can pack.
        waiting: called each time that the socket's timeout passes; it raises to end the wait.

    Raises:
        OSError: the other half is gone.
    """
    data = msgpack.packb(message)
    left = memoryview(_HEAD.pack(len(data)) + data)
    while left:
        try:
            left = left[connection.send(left) :]
        except TimeoutError:
            waiting()


def receive(connection: socket.socket, waiting: Callable[[], None] = _go_on) -> dict[str, Any]:
    """Receives a message; see `send`.

    Raises:
        EOFError: the other half has ended.
        OSError: the other half is gone.
    """
    (size,) = _HEAD.unpack(_exactly(connection, _HEAD.size, waiting))
    found = msgpack.unpackb(_exactly(connection, size, waiting))
    assert isinstance(found, dict)
    return found


def _exactly(connection: socket.socket, size: int, waiting: Callable[[], None]) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            part = connection.recv(min(1 << 20, size - len(data)))
        except TimeoutError:
            waiting()
            continue
        if not part:
            raise EOFError
        data += part
    return bytes(data)
