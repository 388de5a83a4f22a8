"""Binds a line's sockets: admits only allowed clients, and never opens a socket to the network by mistake."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import zmq

from engines.closing import Closing
from engines.errors import ConfigError
from pipeline.protocol.sockets import check_port
from pipeline.security.authenticator import Authenticator
from pipeline.security.curve import Access, Socket, is_local
from pipeline.security.keys import AllowList, read_pair

log = logging.getLogger(__name__)

_DOMAIN = b"taktline"
_HANDSHAKE_MS = 3_000
_REBIND_S = 1.0


class Gate(Closing):
    """Binds a socket and admits clients to it. Only the thread that uses the socket may call methods except `close`.

    With CURVE, ZeroMQ asks a thread of the gate about each client that connects. A client whose key is revoked is
    refused from then on, and its open connection ends: `mind` closes all of the socket's connections and binds it
    again, and clients that are still allowed reconnect by themselves. Call `mind` at least twice a second, and before
    every send.

    Args:
        socket: not bound yet, and the only one of its context that is bound through a gate.
        address: where to bind it.
        access: who may reach it.
        what: what to call the socket in errors.
        setting: the section of the line file that names the allowed clients.

    Raises:
        ConfigError: the socket would be open to everyone, a key cannot be used, or the address cannot be bound.
    """

    def __init__(self, socket: Socket, address: str, access: Access, what: str, setting: str = "[publish]") -> None:
        check_port(address)
        self._socket, self._what = socket, what
        self._authenticator: Authenticator | None = None
        self._bound, self._told = True, False
        if access.secret is not None or access.allowed is not None:
            if access.allowed is None:
                raise ConfigError(
                    f"'allowed_clients' is missing under {setting}; give the folder with the clients' public keys"
                )
            if access.secret is None:
                raise ConfigError(f"'curve_secret' is missing under [publish]; give the secret key file for {what}")
            pair, clients = read_pair(access.secret), AllowList(access.allowed)
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = pair.public, pair.secret
            socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
            # Otherwise a client that connects while nobody answers ZeroMQ would be admitted.
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            # A refused client gets no answer, and tries again after this time.
            socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
            self._authenticator = Authenticator(socket.context, clients)
        elif not is_local(address):
            if not access.insecure:
                raise ConfigError(
                    f"{what} on {address} would be open to everyone who reaches this machine; bind 127.0.0.1 or "
                    f"ipc://, or set curve_secret under [publish] and allowed_clients under {setting} (make keys with: "
                    f"taktline keys new NAME), or accept that with insecure = true under {setting}"
                )
            log.warning("%s on %s is open to everyone who reaches this machine: insecure = true", what, address)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            why = "is in use by another program" if error.errno == zmq.EADDRINUSE else f"is refused ({error.strerror})"
            raise ConfigError(f"the address {address} {why}; give another one for {what}") from error
        self.address = bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def mind(self) -> None:
        """Ends the connections of clients whose keys were revoked; costs next to nothing if there are none.

        Raises:
            TaktlineError: the gate's thread has died.
        """
        if self._authenticator is not None and self._authenticator.anybody_revoked():
            log.warning(
                "a client of %s was revoked; all connections are closed, and the other clients will reconnect",
                self._what,
            )
            self.close_connections()
        elif not self._bound:
            self._bind_again()

    def admits(self, frame: zmq.Frame) -> bool:
        """Returns whether the sender of a message is still allowed. Read the message with `copy=False`."""
        return self._authenticator is None or str(frame.get("User-Id")).encode() in self._authenticator.allowed

    def close_connections(self) -> None:
        """Closes all connections and binds the socket again."""
        if self._bound:
            # Unbinding an address also closes the connections that ZeroMQ accepted through it.
            self._socket.unbind(self.address)
            self._bound = False
        self._bind_again()

    def close(self) -> None:
        """Stops admitting clients; call it before the context is terminated."""
        if self._authenticator is not None:
            self._authenticator.close()

    def _bind_again(self) -> None:
        deadline = time.monotonic() + _REBIND_S
        if self.address.startswith("ipc://"):
            # The old listener removes its socket file when it closes; it must not remove the new one.
            file = Path(self.address.removeprefix("ipc://"))
            while file.exists() and time.monotonic() < deadline:
                time.sleep(0.002)
        while not self._bound:
            try:
                self._socket.bind(self.address)
                self._bound, self._told = True, False
            except zmq.ZMQError as error:
                # The old listener closes in one of ZeroMQ's threads.
                if time.monotonic() < deadline and not self._told:
                    time.sleep(0.002)
                    continue
                if not self._told:
                    log.error("%s cannot be bound again (%s); still trying", self.address, error.strerror)
                self._told = True
                return
