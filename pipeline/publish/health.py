"""How a running line is: over HTTP for whoever supervises it, and for `taktline status`."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from pipeline.protocol.verdict import Verdict

_TIMEOUT_S = 5.0

Status = dict[str, Any]


class Tally:
    """Counts what came in and what went out, for each camera."""

    def __init__(self, cameras: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._came = dict.fromkeys(cameras, 0)
        self._last: dict[str, float | None] = dict.fromkeys(cameras)
        self._verdicts: dict[str, Counter[str]] = {name: Counter() for name in cameras}

    def came(self, camera: str) -> None:
        """Counts a captured frame."""
        with self._lock:
            self._came[camera] += 1
            self._last[camera] = time.monotonic()

    def answered(self, verdict: Verdict) -> None:
        """Counts a published verdict."""
        with self._lock:
            self._verdicts[verdict.camera][verdict.reason or verdict.verdict] += 1

    def of(self, camera: str) -> Status:
        """Returns a camera's counts, and how many seconds ago its last frame came (None before the first)."""
        with self._lock:
            last = self._last[camera]
            return {
                "frames": self._came[camera],
                "verdicts": dict(self._verdicts[camera]),
                "last_frame_s": None if last is None else round(time.monotonic() - last, 3),
            }


class HealthServer(Closing):
    """Answers `GET /live`, `/ready` and `/status` with JSON: 200 where the answer is yes, else 503.

    Args:
        address: `HOST:PORT` to bind; port 0 for one that is free.
        status: returns what `Line.status` does.

    Raises:
        ConfigError: the address cannot be bound.
    """

    def __init__(self, address: str, status: Callable[[], Status]) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host, int(port)), _handler(status))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"the address {address} of [metrics] cannot be bound ({error}); give another") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health")
        self._thread.start()

    @property
    def address(self) -> str:
        """The bound address, with the port that was chosen where 0 was asked for."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def close(self) -> None:
        """Stops answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def fetch_status(url: str) -> Status:
    """Asks a running line how it is.

    Args:
        url: such as `http://127.0.0.1:9108`.

    Raises:
        TaktlineError: it does not answer, or is no line.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"'{url}' is no address of a line's health; give http://HOST:PORT as [metrics] binds it")
    try:
        with urlopen(f"{url.rstrip('/')}/status", timeout=_TIMEOUT_S) as answer:
            status: Status = json.loads(answer.read())
    except (URLError, OSError, ValueError) as error:
        raise TaktlineError(
            f"no line answers at {url} ({error}); is it running, with [metrics] bound there?"
        ) from error
    return status


def _handler(status: Callable[[], Status]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = status()
            answers: dict[str, tuple[bool, Status]] = {
                "/live": (found["live"], {"live": found["live"]}),
                "/ready": (found["ready"], {"ready": found["ready"], "why_not": found["why_not"]}),
                "/status": (True, found),
            }
            good, body = answers.get(self.path, (False, {"error": "ask for /live, /ready or /status"}))
            data = json.dumps(body).encode()
            self.send_response(200 if good else 503 if self.path in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not worth a line of the log."""

    return Handler
