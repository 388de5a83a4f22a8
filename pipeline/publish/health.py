"""Reports a line's state over HTTP: to a supervisor, to Prometheus, and to `taktline status`."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from urllib.error import URLError
from urllib.request import urlopen

from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from pipeline.flow.closing import CLOSE_S
from pipeline.publish.http_server import BoundedHttpServer
from pipeline.publish.metrics import LineMetrics, Status
from pipeline.security.curve import is_local

log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_POLL_S = 0.1


class HealthServer(Closing):
    """Answers `GET /live`, `/ready` and `/status` with JSON (200 for yes, 503 for no), and `/metrics` for Prometheus.

    The constructor binds the address; requests are answered from `start` on.

    Args:
        address: `HOST:PORT` to bind; port 0 for a free one.
        insecure: whether other machines may ask.

    Raises:
        ConfigError: the address cannot be bound, or other machines could reach it.
    """

    def __init__(self, address: str, insecure: bool = False) -> None:
        if not is_local(f"tcp://{address}"):
            if not insecure:
                raise ConfigError(
                    f"the health server on {address} would answer everyone who reaches this machine; bind 127.0.0.1, "
                    "or accept that with insecure = true under [health]"
                )
            log.warning("the health server on %s answers everyone: insecure = true", address)
        host, _, port = address.rpartition(":")
        try:
            self._server = BoundedHttpServer((host, int(port)), BaseHTTPRequestHandler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"the address {address} of [health] cannot be bound ({error}); give another") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="health", daemon=True)

    def start(self, status: Callable[[], Status], metrics: LineMetrics) -> None:
        """Starts to answer.

        Args:
            status: returns what `Line.status` returns.
            metrics: the line's metrics.
        """
        self._server.RequestHandlerClass = _handler(status, metrics)
        self._thread.start()

    @property
    def address(self) -> str:
        """The bound address, with the actual port if 0 was given."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self, deadline: float | None = None) -> None:
        """Stops answering and frees the address."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(CLOSE_S if deadline is None else deadline)
        self._server.server_close()


def _handler(status: Callable[[], Status], metrics: LineMetrics) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_S

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._send(200, *metrics.expose(self.headers.get("Accept", "")))
                return
            found = status()
            answers: dict[str, tuple[bool, Status]] = {
                "/live": (found["live"], {"live": found["live"]}),
                "/ready": (found["ready"], {"ready": found["ready"], "why_not": found["why_not"]}),
                "/status": (True, found),
            }
            good, body = answers.get(self.path, (False, {"error": "ask for /live, /ready, /status or /metrics"}))
            code = 200 if good else 503 if self.path in answers else 404
            self._send(code, json.dumps(body).encode(), "application/json")

        def _send(self, code: int, data: bytes, content_type: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not worth a line in the log."""

    return Handler


def fetch_status(url: str) -> Status:
    """Asks a running line for its status.

    Args:
        url: such as `http://127.0.0.1:9108`.

    Raises:
        TaktlineError: no line answers there.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"'{url}' is not a health server's address; give http://HOST:PORT, as under [health]")
    try:
        with urlopen(f"{url.rstrip('/')}/status", timeout=_TIMEOUT_S) as answer:
            status: Status = json.loads(answer.read())
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        why = reason.strerror if isinstance(reason, OSError) and reason.strerror else reason
        raise TaktlineError(
            f"no line answers at {url} ({why}); check that it is running, with that address under [health]"
        ) from error
    return status
