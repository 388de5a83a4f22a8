"""CURVE on ZeroMQ sockets: a line's identity, the clients it admits, and no socket open to a network by mistake."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import zmq
from zmq.utils import z85

from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from pipeline.protocol.sockets import check_port
from pipeline.security.keys import AllowList, KeyPair, read_pair, read_public

log = logging.getLogger(__name__)

REVOKED_WITHIN_S = 0.5
_DOMAIN = b"taktline"
_ZAP_ADDRESS = "inproc://zeromq.zap.01"
_POLL_MS = 100
_REBIND_S = 1.0
# How long an answer waits for the disk that holds the keys.
_DISK_S = 0.5
_HANDSHAKE_MS = 3_000
_LOG_EVERY_S = 30.0

Socket = zmq.Socket[Any]


@dataclass(frozen=True)
class Access:
    """Who may reach a socket that a line binds.

    Attributes:
        secret: the line's secret key file; None for no CURVE.
        allowed: the folder with the public keys of the clients that are admitted.
        insecure: whether a socket without CURVE may be bound where other machines reach it.
    """

    secret: Path | None = None
    allowed: Path | None = None
    insecure: bool = False


THIS_MACHINE = Access()


@dataclass(frozen=True)
class ClientKeys:
    """What a client needs to be admitted: its own key pair, and the public key of the line."""

    pair: KeyPair
    server: bytes

    @classmethod
    def read(cls, secret: Path, server: str) -> ClientKeys:
        """Reads the client's secret key file, and the line's public key from its file or its 40 characters.

        Raises:
            ConfigError: one of them cannot be used.
        """
        return cls(read_pair(secret), read_public(server))

    def apply(self, socket: Socket) -> None:
        """Sets the keys on a socket, before it is connected."""
        socket.curve_publickey, socket.curve_secretkey = self.pair.public, self.pair.secret
        socket.curve_serverkey = self.server


class Gate(Closing):
    """Binds a socket and admits clients to it. Everything but `close` is for the thread that uses the socket.

    With CURVE, ZeroMQ asks a thread of the gate about each client that connects. A client whose key is revoked is
    refused from then on, and its open connection ends: `mind` closes all of the socket's connections and binds it
    again, and the clients that are still allowed reconnect by themselves. Call `mind` twice a second or more often, and
    before anything is sent.

    Args:
        socket: not bound yet, and the only one of its context that is bound through a gate.
        address: where to bind it.
        access: who may reach it.
        what: what the socket is, for errors.
        setting: the section of the line file that names the allowed clients.

    Raises:
        ConfigError: the socket would be open to everybody, a key cannot be used, or the address cannot be bound.
    """

    def __init__(self, socket: Socket, address: str, access: Access, what: str, setting: str = "[publish]") -> None:
        check_port(address)
        self._socket, self._what = socket, what
        self._authenticator: _Authenticator | None = None
        self._bound, self._told = True, False
        if access.secret is not None or access.allowed is not None:
            if access.allowed is None:
                raise ConfigError(
                    f"'allowed_clients' is missing under {setting}: the folder with the public keys of allowed clients"
                )
            if access.secret is None:
                raise ConfigError(f"'curve_secret' is missing under [publish]: the line's secret key, for {what}")
            pair, clients = read_pair(access.secret), AllowList(access.allowed)
            socket.curve_server = True
            socket.curve_publickey, socket.curve_secretkey = pair.public, pair.secret
            socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
            # Without it a client that connects while nobody answers ZeroMQ would be admitted.
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            # A refused client hears nothing, and tries again after that time.
            socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
            self._authenticator = _Authenticator(socket.context, clients)
        elif not is_local(address):
            if not access.insecure:
                raise ConfigError(
                    f"{what} on {address} would be open to everybody who reaches this machine; bind 127.0.0.1 or "
                    f"ipc://, or set curve_secret under [publish] and allowed_clients under {setting} (make keys with: "
                    f"taktline keys new NAME), or accept it with insecure = true under {setting}"
                )
            log.warning("%s on %s is open to everybody who reaches this machine: insecure = true", what, address)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            why = "is in use by another program" if error.errno == zmq.EADDRINUSE else f"is refused ({error.strerror})"
            raise ConfigError(f"the address {address} {why}; give another one for {what}") from error
        self.address = bytes(socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def mind(self) -> None:
        """Ends the connections of clients whose keys were revoked; costs next to nothing where none was.

        Raises:
            TaktlineError: the gate's thread has died.
        """
        if self._authenticator is not None and self._authenticator.anybody_revoked():
            log.warning(
                "a client of %s was revoked: all its connections are closed, and the other clients reconnect",
                self._what,
            )
            self.close_connections()
        elif not self._bound:
            self._bind_again()

    def admits(self, frame: zmq.Frame) -> bool:
        """Tells whether the sender of a message is still allowed. Read the message with `copy=False`."""
        return self._authenticator is None or str(frame.get("User-Id")).encode() in self._authenticator.allowed

    def close_connections(self) -> None:
        """Closes all connections and binds the socket again."""
        if self._bound:
            # ZeroMQ closes the connections that it accepted through an address together with it.
            self._socket.unbind(self.address)
            self._bound = False
        self._bind_again()

    def close(self) -> None:
        """Admits nobody any more; call it before the context ends."""
        if self._authenticator is not None:
            self._authenticator.close()

    def _bind_again(self) -> None:
        deadline = time.monotonic() + _REBIND_S
        if self.address.startswith("ipc://"):
            # The old listener removes its socket file as it closes; it must not remove the new one.
            file = Path(self.address.removeprefix("ipc://"))
            while file.exists() and time.monotonic() < deadline:
                time.sleep(0.002)
        while not self._bound:
            try:
                self._socket.bind(self.address)
                self._bound, self._told = True, False
            except zmq.ZMQError as error:
                # The old listener closes in a thread of ZeroMQ's.
                if time.monotonic() < deadline and not self._told:
                    time.sleep(0.002)
                    continue
                if not self._told:
                    log.error("%s cannot be bound again (%s); still trying", self.address, error.strerror)
                self._told = True
                return


class _Authenticator(Closing):
    """Answers ZeroMQ about each client that connects (ZAP, RFC 27), in a thread of its own.

    A second thread reads the folder of clients. If the disk under it hangs, the list stays as it was last read: clients
    on it are still admitted, and the line still ends.

    Attributes:
        allowed: the public keys of the allowed clients, at most half a second old unless the disk hangs.
    """

    def __init__(self, context: zmq.Context[Any], clients: AllowList) -> None:
        self._clients = clients
        self.allowed = clients.keys()
        self._inside: set[bytes] = set()
        self._revoked, self._over = threading.Event(), threading.Event()
        # Each is set once the folder was read after it came.
        self._requests: SimpleQueue[threading.Event] = SimpleQueue()
        self._refused, self._log_at = 0, 0.0
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(_ZAP_ADDRESS)
        self._answering = threading.Thread(target=self._serve, name="authenticator")
        self._reading = threading.Thread(target=self._keep_reading, name="allowed clients", daemon=True)
        for thread in (self._answering, self._reading):
            thread.start()

    def anybody_revoked(self) -> bool:
        """Tells, once, whether a client that was admitted has been revoked.

        Raises:
            TaktlineError: a thread has died.
        """
        if self._revoked.is_set():
            self._revoked.clear()
            return True
        if not (self._answering.is_alive() and self._reading.is_alive()) and not self._over.is_set():
            raise TaktlineError("the thread that lets clients in has died; restart the line")
        return False

    def close(self) -> None:
        """Stops the threads; one that waits for a disk that hangs is left behind."""
        self._over.set()
        self._requests.put(threading.Event())
        self._answering.join()
        self._reading.join(_DISK_S)

    def _keep_reading(self) -> None:
        while not self._over.is_set():
            request = None
            with suppress(Empty):
                request = self._requests.get(timeout=REVOKED_WITHIN_S)
            self.allowed = self._clients.keys()
            if request is not None:
                request.set()

    def _serve(self) -> None:
        with self._socket:
            while not self._over.is_set():
                if self._socket.poll(_POLL_MS):
                    # Somebody may have been allowed only just now.
                    request = threading.Event()
                    self._requests.put(request)
                    request.wait(_DISK_S)
                    self._socket.send_multipart(self._answer(self._socket.recv_multipart()))
                gone = self._inside - self.allowed
                if gone:
                    self._inside -= gone
                    self._revoked.set()

    def _answer(self, question: list[bytes]) -> list[bytes]:
        version, request, _, address, _, mechanism, *credentials = question
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
        if key in self.allowed:
            self._inside.add(key)
            return [version, request, b"200", b"OK", key, b""]
        self._log_refusal(address.decode(errors="replace"), key.decode())
        # 300 and not 400: libzmq's clients give up for good at 400, and could not come back once they are allowed.
        return [version, request, b"300", b"not allowed", b"", b""]

    def _log_refusal(self, address: str, key: str) -> None:
        """Logs a refusal, but not each: a refused client tries again at once, and must not fill the log."""
        self._refused += 1
        if time.monotonic() >= self._log_at:
            self._log_at = time.monotonic() + _LOG_EVERY_S
            log.warning(
                "refused %s: its key %s is not on the list of allowed clients (%d times)",
                address,
                key,
                self._refused,
            )


def is_local(address: str) -> bool:
    """Tells whether only this machine can reach a ZeroMQ address."""
    if address.startswith(("ipc://", "inproc://")):
        return True
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
