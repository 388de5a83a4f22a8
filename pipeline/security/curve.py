"""CURVE on ZeroMQ sockets: who may reach a line's sockets, and the keys with which a client connects."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from pipeline.security.keys import KeyPair, read_pair, read_public

Socket = zmq.Socket[Any]


@dataclass(frozen=True)
class Access:
    """Who may reach a line's socket.

    Attributes:
        secret: the line's secret key file; None for no CURVE.
        allowed: the folder with the public keys of admitted clients.
        insecure: whether other machines may reach a socket without CURVE.
    """

    secret: Path | None = None
    allowed: Path | None = None
    insecure: bool = False


THIS_MACHINE = Access()


@dataclass(frozen=True)
class ClientKeys:
    """What a client needs to be admitted: its own key pair and the line's public key."""

    pair: KeyPair
    server: bytes

    @classmethod
    def read(cls, secret: Path, server: str) -> ClientKeys:
        """Reads the client's secret key file and the line's public key, given as a file or as its 40 characters.

        Raises:
            ConfigError: one of them cannot be used.
        """
        return cls(read_pair(secret), read_public(server))

    def apply(self, socket: Socket) -> None:
        """Sets the keys on a socket; call it before connecting."""
        socket.curve_publickey, socket.curve_secretkey = self.pair.public, self.pair.secret
        socket.curve_serverkey = self.server


def is_local(address: str) -> bool:
    """Returns whether only this machine can reach a ZeroMQ address."""
    if address.startswith(("ipc://", "inproc://")):
        return True
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
