"""Checks the key of each client that connects, against the list of allowed clients."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

import zmq
from zmq.utils import z85

from engines.closing import Closing
from engines.errors import TaktlineError
from pipeline.security.keys import AllowList

log = logging.getLogger(__name__)

REVOKED_WITHIN_S = 0.5
_ZAP_ADDRESS = "inproc://zeromq.zap.01"
_POLL_MS = 100
# How long an answer waits for the disk that holds the keys.
_DISK_S = 0.5
_LOG_EVERY_S = 30.0


class Authenticator(Closing):
    """Decides for ZeroMQ about each client that connects (ZAP, RFC 27), in its own thread.

    A second thread reads the folder of clients. If its disk hangs, the list stays as it was last read: clients on it
    are still admitted, and the line can still end.

    Attributes:
        allowed: the public keys of the allowed clients, at most half a second old unless the disk hangs.
    """

    def __init__(self, context: zmq.Context[Any], clients: AllowList) -> None:
        self._clients = clients
        self.allowed = clients.keys()
        self._inside: set[bytes] = set()
        self._revoked, self._over = threading.Event(), threading.Event()
        # Each event is set once the folder has been read after it was queued.
        self._requests: SimpleQueue[threading.Event] = SimpleQueue()
        self._refused, self._log_at = 0, 0.0
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(_ZAP_ADDRESS)
        self._answering = threading.Thread(target=self._serve, name="authenticator", daemon=True)
        self._reading = threading.Thread(target=self._keep_reading, name="allowed clients", daemon=True)
        for thread in (self._answering, self._reading):
            thread.start()

    def anybody_revoked(self) -> bool:
        """Returns, once, whether an admitted client has been revoked.

        Raises:
            TaktlineError: a thread has died.
        """
        if self._revoked.is_set():
            self._revoked.clear()
            return True
        if not (self._answering.is_alive() and self._reading.is_alive()) and not self._over.is_set():
            raise TaktlineError("the thread that admits clients has died; restart the line")
        return False

    def close(self) -> None:
        """Stops the threads; one that waits for a hanging disk is left behind."""
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
                    # The client may have been allowed only just now.
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
        # 300 and not 400: at 400, libzmq's clients give up for good, and could not come back once they are allowed.
        return [version, request, b"300", b"not allowed", b"", b""]

    def _log_refusal(self, address: str, key: str) -> None:
        """Logs some of the refusals: a refused client tries again at once, and must not fill the log."""
        self._refused += 1
        if time.monotonic() >= self._log_at:
            self._log_at = time.monotonic() + _LOG_EVERY_S
            log.warning(
                "refused %s: its key %s is not on the list of allowed clients (%d times)",
                address,
                key,
                self._refused,
            )
