"""How a running line is, asked over HTTP and by the command."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from engines.errors import ConfigError, LineDown
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.line_file import check_config
from pipeline.line.build import build_line
from pipeline.publish.health import HealthServer
from pipeline.publish.metrics import LineMetrics
from tests.conftest import RunTaktline
from tests.pipeline.line.test_line import config, line_with
from tests.pipeline.parts import until


def ask(url: str) -> tuple[int, dict[str, object]]:
    try:
        with urlopen(url, timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.usefixtures("no_thread_left")
def test_a_line_says_when_it_is_ready_and_what_it_did(
    drawn: Path,
    bundle_path: Path,
    endpoint: str,
    tmp_path: Path,
    taktline: RunTaktline,
    taktline_in_process: RunTaktline,
) -> None:
    settings = config(
        bundle_path, f"replay:{drawn}", endpoint, health={"bind": "127.0.0.1:0"},
        journal={"path": tmp_path / "line.journal"},
    )  # fmt: skip
    with build_line(settings, watched=True) as line:
        assert line.health is not None
        url = line.health.address
        starting = threading.Thread(target=line.start)
        starting.start()
        code, body = ask(f"{url}/ready")
        assert (code, body["why_not"]) == (503, ["the line has not started yet"])
        assert ask(f"{url}/live") == (200, {"live": True})
        with VerdictSubscriber(endpoint):
            starting.join(30)
        assert len(list(line.decided())) == 18
        assert ask(f"{url}/ready") == (200, {"ready": True, "why_not": []})
        code, status = ask(f"{url}/status")
        assert code == 200
        camera = status["cameras"]["top"]  # type: ignore[index]
        assert camera["frames"] == 18
        assert sum(camera["verdicts"].values()) == 18
        assert set(camera["verdicts"]) <= {"ok", "ng"}
        assert status["bundle"] == line.model.bundle.short_id
        journal = status["journal"]
        assert (journal["journaled"], journal["unjournaled"], journal["trouble"]) == (18, 0, None)  # type: ignore[index]
        assert ask(f"{url}/nothing")[0] == 404
        done = taktline("status", url)
        assert done.returncode == 0, done.stderr
        assert "ready" in done.stdout
        assert "top" in done.stdout
        assert "journal: 18 verdicts" in done.stdout
    gone = taktline_in_process("status", url)
    assert gone.returncode == 2
    assert "no line answers" in gone.stderr
    assert taktline_in_process("status", "nonsense").returncode == 2


def test_a_camera_that_is_missing_makes_the_line_not_ready(
    bundle_path: Path, endpoint: str, taktline: RunTaktline
) -> None:
    nobody = endpoint.replace("tcp://", "http://")
    values = {
        "model": {"bundle": str(bundle_path), "precision": "f32", "max_batch": 1},
        "camera": [{"name": "top", "source": f"{nobody}/stream"}],
        "publish": {"verdicts": "tcp://127.0.0.1:*"},
        "health": {"bind": "127.0.0.1:0"},
    }
    with build_line(check_config(values, "test")) as line:
        line.start()
        deadline = time.monotonic() + 20
        while "cannot be opened" not in str(line.status()["why_not"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert line.health is not None
        assert ask(f"{line.health.address}/live")[0] == 200
        assert ask(f"{line.health.address}/ready")[0] == 503
        with urlopen(f"{line.health.address}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        assert 'taktline_camera_up{camera="top"} 0.0' in text
        reconnects = re.search(r'taktline_camera_reconnects_total{camera="top"} (\d+)', text)
        assert reconnects is not None and int(reconnects[1]) >= 1
        done = taktline("status", line.health.address)
        assert done.returncode == 1
        assert "cannot be opened" in done.stdout.replace("\n", " ")


def test_a_line_that_went_down_says_so(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    settings = config(
        bundle_path, f"replay:{drawn}", endpoint, health={"bind": "127.0.0.1:0"}, publish={"verdicts": endpoint}
    )
    with line_with(ZeroDivisionError, settings, stays=True) as line:
        line.start()
        with pytest.raises(LineDown):
            line.wait(30)
        assert line.health is not None
        assert ask(f"{line.health.address}/live") == (503, {"live": False})


@pytest.fixture
def server(no_thread_left: None) -> Iterator[tuple[str, int]]:
    """A health server without a line; lends its host and port."""
    status = {"live": True, "ready": True, "why_not": []}
    with HealthServer("127.0.0.1:0") as health:
        health.start(lambda: status, LineMetrics(["a"]))
        host, _, port = health.address.removeprefix("http://").rpartition(":")
        yield host, int(port)


def live(server: tuple[str, int]) -> bool:
    return ask(f"http://{server[0]}:{server[1]}/live") == (200, {"live": True})


def test_a_client_that_resets_its_connection_leaves_no_traceback(
    server: tuple[str, int], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for request in (b"", b"GET /live", b"GET /status HTTP/1.1\r\n\r\n"):
        for _ in range(5):
            with socket.create_connection(server) as client:
                client.sendall(request)
                # Closing sends RST instead of FIN.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert live(server)
    assert not caplog.records
    assert capfd.readouterr().err == ""


def test_connections_that_ask_for_nothing_hold_no_thread_for_long_and_keep_nobody_out(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    clients = []
    for _ in range(200):
        clients.append(socket.create_connection(server))
        clients[-1].sendall(b"GET /live HT")
    assert live(server)
    # A thread whose connection has made way for another's takes a moment to end.
    until(lambda: threading.active_count() - before <= 65)
    monkeypatch.setattr("pipeline.publish.http_server._CONNECTION_S", 0.1)
    until(lambda: threading.active_count() == before)
    for client in clients:
        client.settimeout(5)
        with suppress(ConnectionError):
            assert client.recv(1) == b""
        client.close()


def test_many_that_come_in_one_moment_are_let_in() -> None:
    """Before the line has started nobody takes them, but none of them has to try again, a second later."""
    with HealthServer("127.0.0.1:0") as health:
        host, _, port = health.address.removeprefix("http://").rpartition(":")
        for client in [socket.create_connection((host, int(port)), timeout=0.5) for _ in range(100)]:
            client.close()


def test_many_quick_connections_are_all_answered(server: tuple[str, int]) -> None:
    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(lambda _: live(server), range(150)))


def test_other_machines_may_ask_only_where_the_line_file_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=r"insecure = true under \[health\]"):
        HealthServer("0.0.0.0:0")
    with HealthServer("0.0.0.0:0", insecure=True):
        assert "answers everyone" in caplog.text
    HealthServer("localhost:0").close()


def test_an_address_that_cannot_be_bound_is_told(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    taken = endpoint.removeprefix("tcp://")
    settings = config(bundle_path, f"replay:{drawn}", endpoint, health={"bind": taken})
    with pytest.raises(ConfigError, match="cannot be bound"):
        build_line(settings)
    with pytest.raises(ConfigError, match="health"):
        config(bundle_path, f"replay:{drawn}", endpoint, health={"bind": "anywhere"})
