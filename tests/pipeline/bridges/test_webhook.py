"""A bridge to a real web server that fails now and then."""

from __future__ import annotations

import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.pipeline.bridges.conftest import KILLED, OpenBridge
from tests.pipeline.parts import Running, until


class Moody:
    """A web server that fails now and then: it answers 503, hangs up, or takes a verdict without saying so."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.refused = self.repeated = 0
        moody = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = self.headers["Idempotency-Key"]
                assert key == f"test/a/{body['epoch']}/{body['sequence']}"
                assert self.headers["Authorization"] == "Bearer token"
                mood = (len(moody.keys) + moody.refused) % 11
                if mood in (3, 7):
                    moody.refused += 1
                    if mood == 7:
                        self.close_connection = True
                        return
                    self.answer(503)
                    return
                if key in moody.keys:
                    moody.repeated += 1
                    self.answer(409)
                    return
                moody.keys.append(key)
                if mood == 5:
                    self.close_connection = True
                    return
                self.answer(204)

            def answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/verdicts"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_a_web_server_that_fails_now_and_then_gets_each_verdict_in_order(
    running: Running, open_bridge: OpenBridge, tmp_path: Path
) -> None:
    server = Moody()
    token = tmp_path / "token"
    token.write_text("token\n")
    token.chmod(0o600)
    try:
        bridge = open_bridge("webhook", server.url, "--token-file", token)
        running.publish(60)
        until(lambda: len(server.keys) >= 20)
        assert bridge.end(signal.SIGKILL) == KILLED
        bridge.start()
        until(lambda: len(server.keys) == 60, 120)
        until(lambda: json.loads((tmp_path / "position.json").read_text())["position"]["a"]["sequence"] == 59)
        assert bridge.end() == 0
    finally:
        server.close()
    assert [int(key.rpartition("/")[2]) for key in server.keys] == list(range(60))
    assert server.refused and server.repeated
