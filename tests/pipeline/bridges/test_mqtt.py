"""Bridges to real MQTT brokers that die and come back, with and without TLS."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.peers.mosquitto import Mosquitto, needed
from tests.pipeline.bridges.conftest import KILLED, OpenBridge, publish_slowly
from tests.pipeline.parts import Running, until


class Consumer:
    """A client of the broker behind the bridge, with a session that outlives connections.

    A broker that is killed may have acknowledged what it has not saved. It has sent that to its clients, but one that
    acknowledges (`qos` 1) finds its connection broken and leaves it unread. One that does not (0) reads to the end.
    """

    def __init__(self, port: int, *topics: str, qos: int = 1) -> None:
        self.received: dict[str, list[dict[str, Any]]] = {}
        self._topics, self._qos = topics, qos
        self._client = paho.Client(CallbackAPIVersion.VERSION2, f"consumer{qos}", protocol=paho.MQTTv5)
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
            client.subscribe(topic, qos=self._qos)

    def _take(self, client: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
        self.received.setdefault(message.topic, []).append(json.loads(message.payload))


@pytest.mark.usefixtures("no_thread_left")
def test_2000_verdicts_arrive_though_the_broker_is_killed_twice_and_the_bridge_once(
    running: Running, open_bridge: OpenBridge, tmp_path: Path
) -> None:
    broker = Mosquitto(tmp_path)
    broker.start()
    consumer, reader = Consumer(broker.port, "plant/#"), Consumer(broker.port, "plant/test/a", qos=0)
    options = ("--broker", f"127.0.0.1:{broker.port}", "--topic", "plant/{line}/{camera}")

    def missing() -> set[int]:
        return set(range(2000)).difference(consumer.sequences("plant/test/a"), reader.sequences("plant/test/a"))

    bridge = open_bridge("mqtt", *options, "--status-topic", "plant/status")
    try:
        publishing = publish_slowly(running, 2000)
        for count, kill_broker in ((300, True), (800, False), (1300, True)):
            until(lambda count=count: len(missing()) <= 2000 - count)
            if kill_broker:
                broker.kill()
                time.sleep(0.5)
                broker.start()
            else:
                assert bridge.end(signal.SIGKILL) == KILLED
                bridge.start()
        publishing.join()
        until(lambda: not missing())
        until(lambda: consumer.received["plant/status"][-1]["state"] == "online")
        assert bridge.end() == 0
        until(lambda: consumer.received["plant/status"][-1]["state"] == "offline")
    finally:
        consumer.close()
        reader.close()
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
        open_port,
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
            ((*base, *ca, "--password-file", wrong), "refuses the login"),
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
