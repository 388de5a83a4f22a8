"""Parts of bridges: positions on disk, settings, and a line that speaks another version."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from engines.errors import ConfigError
from pipeline.bridges.bridge import PositionFile, Stored, Unreachable
from pipeline.bridges.jsonl import JsonLines
from pipeline.bridges.mqtt import MqttBroker, MqttSettings, fill_topic
from pipeline.bridges.webhook import Webhook
from pipeline.protocol.verdict import Verdict, pack
from tests.paths import ROOT
from tests.pipeline.parts import decide


def verdicts(count: int) -> list[Verdict]:
    return [decide("a", sequence).verdict for sequence in range(count)]


def test_what_was_written_after_the_stored_position_is_cut_off(tmp_path: Path) -> None:
    """Also half a line, and also where the file was put aside just before the crash."""
    path, stop = tmp_path / "v.jsonl", threading.Event()
    with JsonLines(path) as file:
        file.resume(None)
        file.deliver(verdicts(3), stop)
        mark = json.loads(json.dumps(file.mark()))
        file.deliver(verdicts(2), stop)
    with path.open("ab") as raw:
        raw.write(b'{"v":2,"seq')
    with JsonLines(path) as file:
        file.resume(mark)
        assert len(path.read_text().splitlines()) == 3
    with JsonLines(path, most_bytes=10, keep=2) as file:
        file.resume(mark)
        file.deliver(verdicts(1), stop)
        assert len(path.read_text().splitlines()) == 1
    with JsonLines(path) as file:
        file.resume(mark)
        assert path.read_text() == ""
        assert len((tmp_path / "v.jsonl.1").read_text().splitlines()) == 3
        # Somebody moves it away: the next ones stand in a new file.
        path.rename(tmp_path / "moved")
        file.deliver(verdicts(1), stop)
        assert len(path.read_text().splitlines()) == 1
    for _ in range(5):
        with JsonLines(path, most_bytes=10, keep=2) as file:
            file.deliver(verdicts(1), stop)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["moved", "v.jsonl", "v.jsonl.1", "v.jsonl.2"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 2, "position": {}, "mark": null}', '{"v": 1}', "\xff"])
def test_a_file_that_is_no_position_is_told_of(tmp_path: Path, text: str) -> None:
    path = tmp_path / "position.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match="does not hold a bridge's position"):
        PositionFile(path).read()
    path.unlink()
    store = PositionFile(path)
    assert store.read() is None
    store.write(Stored({"a": 1}, None))
    assert store.read() == Stored({"a": 1}, None)
    assert [found.name for found in tmp_path.iterdir()] == ["position.json"]


def test_a_line_of_another_version_ends_a_bridge_and_nonsense_does_not(tmp_path: Path) -> None:
    context = zmq.Context()
    publisher = context.socket(zmq.PUB)
    publisher.setsockopt(zmq.LINGER, 0)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    file = tmp_path / "v.jsonl"
    command = [sys.executable, "-m", "taktline", "bridge", "jsonl", str(file), "--from", f"tcp://127.0.0.1:{port}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    topic, body = pack(verdicts(1)[0], None)
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline and process.poll() is None
        publisher.send_multipart([topic, b"\xc1"])
        publisher.send_multipart([topic, body])
        time.sleep(0.1)
    publisher.send_multipart([topic, msgpack.packb(msgpack.unpackb(body) | {"v": 99})])
    _, errors = process.communicate(timeout=60)
    publisher.close()
    context.term()
    assert process.returncode == 2
    errors = " ".join(errors.split())
    assert "skipped a message" in errors
    assert re.search(r"schema version 99 and this Taktline reads version 2", errors)
    assert {json.loads(row)["sequence"] for row in file.read_text().splitlines()} == {0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"broker": "host:port"}, "is not a broker's address"),
        ({"broker": ":1883"}, "is not a broker's address"),
        ({"topic": "a/#"}, "is not a topic to publish to"),
        ({"topic": ""}, "is not a topic to publish to"),
        ({"status_topic": "+/status"}, "is not a topic to publish to"),
        ({"password_file": Path("nowhere")}, "a password needs a user"),
        ({"user": "press", "password_file": Path("nowhere")}, "cannot be read"),
        ({"tls": True, "ca": Path("nowhere")}, "there is no file nowhere"),
        ({"tls": True, "certificate": Path("nowhere")}, "there is no file nowhere"),
        ({"tls": True, "ca": Path(__file__)}, "certificates for the broker cannot be used"),
        ({"certificate_key": Path(__file__)}, "give it with --cert"),
        ({"topic": "a/{cam}"}, "only {line} and {camera} are filled in"),
        ({"status_topic": "a/{line}"}, "nothing is filled in here"),
    ],
)
def test_what_no_broker_can_be_told(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MqttBroker(MqttSettings(**{"broker": "127.0.0.1"} | settings))


def test_names_cannot_leave_their_place_in_a_topic() -> None:
    verdict = decide("a/+#b", 0).verdict
    assert fill_topic("x/{line}/{camera}/{part}", verdict) == "x/test/a___b/{part}"


@pytest.mark.parametrize("url", ["mes.example/verdicts", "ftp://mes.example", "http://", "file:///etc/passwd"])
def test_what_cannot_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="not a URL to post to"):
        Webhook(url)


def test_a_password_in_an_address_is_not_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        with Webhook(f"http://press:secret@127.0.0.1:{port}/v") as webhook, pytest.raises(Unreachable) as caught:
            webhook.deliver(verdicts(1), threading.Event())
    assert "secret" not in str(caught.value)
