"""Bridges as processes of their own, to real brokers, servers and files that die and come back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.conftest import ROOT
from tests.peers.mosquitto import Mosquitto, needed
from tests.pipeline.parts import Running, until

KILLED = -signal.SIGKILL


class BridgeProcess:
    """`taktline bridge` in a process of its own, from a line that runs in this one."""

    def __init__(self, running: Running, folder: Path, *arguments: object) -> None:
        assert running.replay is not None
        self._command = [
            sys.executable, "-m", "taktline", "bridge", *map(str, arguments), "--oldest",
            "--from", running.socket.address, "--replay", running.replay.address,
            "--position", str(folder / "position.json"),
        ]  # fmt: skip
        self._log = folder / "bridge.log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=ROOT)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns how it ended."""
        assert self._process.poll() is None, self._log.read_text()
        self._process.send_signal(number)
        return self._process.wait(60)

    def ended(self) -> str:
        """Waits until it ends by itself, and returns what it said."""
        assert self._process.wait(60) == 2, self._log.read_text()
        return " ".join(self._log.read_text().split())

    def kill(self) -> None:
        """Leaves nothing behind, whatever failed."""
        self._process.kill()
        self._process.wait(60)


OpenBridge = Callable[..., BridgeProcess]


@pytest.fixture
def open_bridge(running: Running, tmp_path: Path) -> Iterator[OpenBridge]:
    with ExitStack() as stack:

        def start(*arguments: object) -> BridgeProcess:
            bridge = BridgeProcess(running, tmp_path, *arguments)
            stack.callback(bridge.kill)
            return bridge

        yield start


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    publish = {"verdicts": "tcp://127.0.0.1:*", "replay": "tcp://127.0.0.1:*"}
    with Running(publish, {"path": tmp_path / "line.journal"}) as delivery:
        yield delivery


def publish_slowly(running: Running, count: int) -> threading.Thread:
    """Publishes so many verdicts over some seconds: there is time to kill somebody meanwhile."""

    def publish() -> None:
        for _ in range(count // 10):
            running.publish(10)
            time.sleep(0.02)

    thread = threading.Thread(target=publish)
    thread.start()
    return thread


class Consumer:
    """A client of the broker behind the bridge, with a session that outlives connections."""

    def __init__(self, port: int, *topics: str) -> None:
        self.received: dict[str, list[dict[str, Any]]] = {}
        self._topics = topics
        self._client = paho.Client(CallbackAPIVersion.VERSION2, "consumer", protocol=paho.MQTTv5)
        self._client.on_message, self._client.on_connect = self._take, self._subscribe
        self._client.reconnect_delay_set(1, 1)
        lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        lasting.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, clean_start=False, properties=lasting)
        self._client.loop_start()

    def sequences(self, topic: str) -> list[int]:
        return [values["sequence"] for values in list(self.received.get(topic, []))]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _subscribe(self, client: paho.Client, *_: Any) -> None:
        for topic in self._topics:
            client.subscribe(topic, qos=1)

    def _take(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        self.received.setdefault(message.topic, []).append(json.loads(message.payload))


@pytest.mark.usefixtures("no_thread_left")
def test_2000_verdicts_arrive_though_the_broker_is_killed_twice_and_the_bridge_once(
    running: Running, open_bridge: OpenBridge, tmp_path: Path
) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    consumer = Consumer(broker.port, "plant/#")
    options = ("--broker", f"127.0.0.1:{broker.port}", "--topic", "plant/{line}/{camera}")
    bridge = open_bridge("mqtt", *options, "--status-topic", "plant/status")
    try:
        publishing = publish_slowly(running, 2000)
        for count, kill_broker in ((300, True), (800, False), (1300, True)):
            until(lambda count=count: len(set(consumer.sequences("plant/test/a"))) >= count)
            if kill_broker:
                broker.kill()
                time.sleep(0.5)
                broker.start()
            else:
                assert bridge.end(signal.SIGKILL) == KILLED
                bridge.start()
        publishing.join()
        until(lambda: set(consumer.sequences("plant/test/a")) == set(range(2000)))
        until(lambda: consumer.received["plant/status"][-1]["state"] == "online")
        assert bridge.end() == 0
        until(lambda: consumer.received["plant/status"][-1]["state"] == "offline")
    finally:
        consumer.close()
        broker.kill()
    states = {status["state"] for status in consumer.received["plant/status"]}
    assert states == {"online", "offline"}
    first = consumer.received["plant/test/a"][0]
    assert first["v"] == 2 and first["journaled"] is True and first["latency"]["infer"] == 2


def test_a_broker_with_tls_and_a_password(running: Running, open_bridge: OpenBridge, tmp_path: Path) -> None:
    """Who has the wrong password or trusts another authority is told so; the last will tells of a dead bridge."""
    make_certificates(tmp_path)
    passwords = tmp_path / "passwords"
    subprocess.run([needed("mosquitto_passwd", "mosquitto"), "-c", "-b", passwords, "press", "secret"], check=True)
    open_port = Mosquitto(tmp_path).port
    broker = Mosquitto(
        tmp_path,
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/broker.pem\nkeyfile {tmp_path}/broker.key\n"
        f"allow_anonymous false\npassword_file {passwords}\n"
        f"listener {open_port} 127.0.0.1\nallow_anonymous true\n",
    )
    broker.start()
    right, wrong, open_to_all = (tmp_path / name for name in ("right", "wrong", "open"))
    for path, password in ((right, "secret"), (wrong, "guess"), (open_to_all, "secret")):
        path.write_text(f"{password}\n")
        path.chmod(0o644 if path == open_to_all else 0o600)
    base = ("--broker", f"127.0.0.1:{broker.port}", "--topic", "a/{camera}", "--status-topic", "a/status",
            "--user", "press")  # fmt: skip
    ca = ("--ca", tmp_path / "ca.pem")
    consumer = Consumer(open_port, "a/#")
    try:
        for arguments, sentence in (
            ((*base, *ca, "--password-file", wrong), "does not let us in"),
            ((*base, "--ca", tmp_path / "other.pem", "--password-file", right), "no encrypted connection"),
            ((*base, *ca, "--password-file", open_to_all), "others may read the secret"),
        ):
            assert sentence in open_bridge("mqtt", *arguments).ended()
        assert not consumer.received
        bridge = open_bridge("mqtt", *base, *ca, "--password-file", right, "--silent-after", 1)
        running.publish(20)
        until(lambda: set(consumer.sequences("a/a")) == set(range(20)))
        until(lambda: consumer.received["a/status"][-1] | {"last_captured_at": 0} == {
            "state": "silent", "line": "test", "delivered": 20, "last_captured_at": 0
        })  # fmt: skip
        assert bridge.end(signal.SIGKILL) == KILLED
        until(lambda: consumer.received["a/status"][-1]["state"] == "offline")
        # Retained: whoever comes later sees it as well.
        late = Consumer(open_port, "a/status")
        until(lambda: "a/status" in late.received)
        assert late.received["a/status"][-1]["state"] == "offline"
        late.close()
    finally:
        consumer.close()
        broker.kill()


def make_certificates(folder: Path) -> None:
    """An authority, a broker's certificate from it, and another authority."""
    openssl = needed("openssl", "openssl")

    def run(*arguments: str) -> None:
        done = subprocess.run([openssl, *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    for name in ("ca", "other"):
        run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem",
            "-days", "2", "-subj", f"/CN=Test {name}", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "broker.key", "-out", "broker.csr", "-subj", "/CN=127.0.0.1")
    run("x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-out", "broker.pem", "-extfile", "names")  # fmt: skip


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


def test_files_hold_each_verdict_once_though_the_bridge_is_killed(
    running: Running, open_bridge: OpenBridge, tmp_path: Path
) -> None:
    file = tmp_path / "verdicts.jsonl"
    bridge = open_bridge("jsonl", file, "--max-mib", 0.05, "--keep", 100)
    publishing = publish_slowly(running, 2000)

    def written() -> list[int]:
        aside = sorted(tmp_path.glob("verdicts.jsonl.*"), key=lambda path: -int(path.suffix[1:]))
        text = "".join(path.read_text() for path in [*aside, file] if path.exists())
        return [json.loads(row)["sequence"] for row in text.split("\n")[:-1]]

    def at_least(count: int) -> bool:
        # A file may get another name just while it is being read.
        with suppress(FileNotFoundError):
            return len(written()) >= count
        return False

    for count in (200, 700, 1200, 1700):
        until(lambda count=count: at_least(count))
        assert bridge.end(signal.SIGKILL) == KILLED
        bridge.start()
    publishing.join()
    until(lambda: at_least(2000))
    assert bridge.end() == 0
    assert written() == list(range(2000))
    assert len(list(tmp_path.glob("verdicts.jsonl.*"))) > 3
