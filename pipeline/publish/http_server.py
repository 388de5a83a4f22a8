"""An HTTP server that no client can block: it limits the number and the duration of connections."""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

log = logging.getLogger(__name__)

_CONNECTION_S = 10.0
_MOST_CONNECTIONS = 64


class BoundedHttpServer(ThreadingHTTPServer):
    """One thread per connection, but never more than 64, and none for longer than 10 seconds.

    A client that asks for nothing or reads nothing holds its thread only until then. If there are too many, the oldest
    connection is closed, so an honest client is answered within milliseconds.
    """

    daemon_threads = True
    block_on_close = False
    # Several supervisors may ask at the same moment; with the default of 5, the others would wait for a second.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: OrderedDict[socket.socket, float] = OrderedDict()
        self._lock = threading.Lock()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Binds without asking the name service for this machine's name, which can take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts a connection's thread, and ends the oldest connection if there are too many."""
        with self._lock:
            if len(self._connections) >= _MOST_CONNECTIONS:
                _hang_up(self._connections.popitem(last=False)[0])
            self._connections[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Closes an answered connection."""
        with self._lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Ends connections that take too long; called ten times a second."""
        oldest = time.monotonic() - _CONNECTION_S
        with self._lock:
            for connection in [found for found, since in self._connections.items() if since < oldest]:
                del self._connections[connection]
                _hang_up(connection)

    def server_close(self) -> None:
        """Ends all open connections."""
        super().server_close()
        with self._lock:
            while self._connections:
                _hang_up(self._connections.popitem()[0])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs errors, except for clients that hang up, which is not the line's fault."""
        del request
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("the health server could not answer %s: %s", client_address, error, exc_info=error)


def _hang_up(connection: socket.socket) -> None:
    """Wakes the thread that reads or writes a connection, which then closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
