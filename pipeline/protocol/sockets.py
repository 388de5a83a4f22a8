"""Options and checks that all sockets of a line share."""

from __future__ import annotations

import os
import socket as sockets
from pathlib import Path
from typing import Any

import zmq

from engines.errors import ConfigError

HIGH_WATER_MARK = 100_000
MOST_PORT = 65_535
# The longest path of a socket file that the kernel accepts.
_MOST_PATH_BYTES = 107
_SILENT_S, _PROBES = 5, 3


def check_address(address: str) -> str:
    """Returns an address to bind if ZeroMQ can understand it.

    libzmq itself silently takes port 99999 for port 34463.

    Raises:
        ValueError: the address is neither `tcp://HOST:PORT` nor `ipc://PATH`; the text lacks its subject.
    """
    transport, separator, rest = address.partition("://")
    if not separator or transport not in {"tcp", "ipc"}:
        raise ValueError("must start with tcp:// or ipc://")
    if transport == "ipc":
        if not 0 < len(os.fsencode(rest)) <= _MOST_PATH_BYTES:
            raise ValueError(f"must name a socket file after ipc://, in at most {_MOST_PATH_BYTES} bytes")
        return address
    host, _, port = rest.rpartition(":")
    if not host or not _is_port(port):
        raise ValueError(f"must be tcp://HOST:PORT with a port from 0 to {MOST_PORT}, or * for any free one")
    return address


def notice_dead_peers(socket: zmq.Socket[Any]) -> None:
    """Makes the kernel close a connection 20 seconds after its other side vanished.

    ZeroMQ's own heartbeats would do that too, but libzmq 4.3.5 aborts the whole process when a heartbeat is due on a
    connection that broke while its queue was full.
    """
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _SILENT_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _SILENT_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, _PROBES)


def check_port(address: str) -> None:
    """Refuses a TCP address whose port does not exist, because ZeroMQ would silently bind another one.

    Raises:
        ConfigError: the port is neither 1 to 65535, nor 0 or `*` for a free one.
    """
    if not address.startswith("tcp://"):
        return
    if not _is_port(address.rpartition(":")[2]):
        raise ConfigError(f"the address {address} has no port from 1 to {MOST_PORT}; give one, or * for a free one")


def connect(socket: zmq.Socket[Any], address: str, example: str) -> None:
    """Connects a socket, or closes it.

    libzmq itself silently takes port 99999 for port 34463, and waits forever for a port 0 to answer.

    Raises:
        ConfigError: the address cannot be used; the text gives the example.
    """
    port = address.rpartition(":")[2]
    reason = f"the port must be from 1 to {MOST_PORT}"
    try:
        if not address.startswith("tcp://") or (_is_port(port) and port.strip("*0")):
            socket.connect(address)
            return
    except zmq.ZMQError as error:
        reason = zmq.strerror(error.errno or 0)
    socket.close()
    raise ConfigError(f"'{address}' is not an address to connect to ({reason}); give one like {example}")


def has_listener(path: Path) -> bool:
    """Returns whether a program listens on a socket file. ZeroMQ would bind over it and replace it."""
    if not path.exists():
        return False
    with sockets.socket(sockets.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _is_port(text: str) -> bool:
    return text == "*" or (text.isascii() and text.isdecimal() and int(text) <= MOST_PORT)
