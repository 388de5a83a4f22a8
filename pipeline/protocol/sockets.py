"""Options that all sockets of a line share."""

from __future__ import annotations

import socket as sockets
from pathlib import Path
from typing import Any

import zmq

HIGH_WATER_MARK = 100_000
_SILENT_S, _PROBES = 5, 3


def notice_dead_peers(socket: zmq.Socket[Any]) -> None:
    """Lets the kernel close a connection 20 seconds after its other side vanished.

    ZeroMQ's own heartbeats would do it too, but libzmq 4.3.5 aborts the whole process when a heartbeat is due on a
    connection that broke while its queue was full.
    """
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _SILENT_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _SILENT_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, _PROBES)


def has_listener(path: Path) -> bool:
    """Tells whether a program listens on a socket file: ZeroMQ would bind over it and take its place."""
    if not path.exists():
        return False
    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
