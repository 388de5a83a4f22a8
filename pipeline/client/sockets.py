"""The two sockets of a subscriber."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import zmq

from pipeline.protocol.sockets import connect, notice_dead_peers
from pipeline.protocol.topics import TOPIC
from pipeline.security.curve import ClientKeys

_MAX_MESSAGE_BYTES = 16 << 20
_RECONNECT_MS, _MOST_RECONNECT_MS = 50, 1_000

Socket = TypeVar("Socket", bound="zmq.Socket[Any]")


def open_verdicts(
    context: zmq.Context[Socket], address: str, cameras: Sequence[str], queue: int, curve: ClientKeys | None = None
) -> Socket:
    """Connects to a line's publisher.

    Args:
        context: the socket's context.
        address: the line's address.
        cameras: only these; all if empty.
        queue: the most verdicts that wait in the socket.
        curve: keys, for a line that uses CURVE.

    Raises:
        ConfigError: the address cannot be used.
    """
    return open_topics(context, address, TOPIC, cameras, queue, curve)


def open_topics(
    context: zmq.Context[Socket], address: str, topic: str, cameras: Sequence[str], queue: int, curve: ClientKeys | None
) -> Socket:
    """Connects to a line's publisher, for messages whose topics are `topic` and a camera's name.

    Raises:
        ConfigError: the address cannot be used.
    """
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, queue)
    for wanted in [f"{topic}{camera}" for camera in cameras] or [topic]:
        socket.setsockopt(zmq.SUBSCRIBE, wanted.encode())
    return _connect(socket, address, curve)


def open_replay(context: zmq.Context[Socket], address: str, curve: ClientKeys | None = None) -> Socket:
    """Connects to a line's replay; while the line is down, nothing can be sent.

    Raises:
        ConfigError: the address cannot be used.
    """
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    return _connect(socket, address, curve)


def _connect(socket: Socket, address: str, curve: ClientKeys | None) -> Socket:
    if curve is not None:
        curve.apply(socket)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE_BYTES)
    notice_dead_peers(socket)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _MOST_RECONNECT_MS)
    connect(socket, address, "tcp://127.0.0.1:5556")
    return socket
