"""The wire is as docs/wire.md and the JSON Schema say, and a reader refuses what is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import jsonschema
import msgpack
import pytest
import zmq

from pipeline.bridges.bridge import verdict_json
from pipeline.line.build import build_line
from pipeline.protocol.event import pack_event, unpack_event
from pipeline.protocol.gap import Gap, pack_gap
from pipeline.protocol.orders import Order
from pipeline.protocol.preview import pack_preview, unpack_preview
from pipeline.protocol.replay import ReplayRequest, unpack_request
from pipeline.protocol.schema import EVENT_SCHEMA_FILE, SCHEMA_FILE, event_schema, verdict_schema
from pipeline.protocol.verdict import VersionError, WireError, pack, unpack
from pipeline.publish.publisher import PublisherSocket
from tests.paths import ROOT
from tests.pipeline.line.test_line import config
from tests.pipeline.parts import decide, until

WIRE = (ROOT / "docs" / "wire.md").read_text()
CHECK = jsonschema.Draft202012Validator(verdict_schema())


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", WIRE, re.DOTALL)
    assert found is not None
    return found[1]


def table(heading: str) -> list[str]:
    """The names in the first column of the first table after some words."""
    rows = WIRE.partition(heading)[2].partition("\n|")[2].partition("\n\n")[0]
    return [name for row in rows.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_the_schema_beside_the_code_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == verdict_schema(), "write it with: python -m pipeline.protocol.schema"
    CHECK.check_schema(verdict_schema())
    for properties in (verdict_schema(), *verdict_schema()["$defs"].values()):
        for name, described in properties["properties"].items():
            assert "description" in described or "$ref" in described, name


def test_the_document_names_every_key() -> None:
    assert table("The body:") == list(verdict_schema()["properties"])
    for name, part in verdict_schema()["$defs"].items():
        assert all(f"`{key}`" in WIRE for key in part["properties"]), name
    wanted = {field.alias or name for name, field in ReplayRequest.model_fields.items()}
    assert set(table("A request is one part")) == wanted
    assert table("An order is one part") == list(Order.model_fields)
    assert set(table("A gap stands for")) == set(msgpack.unpackb(pack_gap(Gap("a", "0", 0, 0, "gone"))))


def test_the_documents_bytes_are_a_verdict() -> None:
    body = bytes.fromhex(block("hex"))
    assert msgpack.unpackb(body) == json.loads(block("json"))
    CHECK.validate(msgpack.unpackb(body))
    verdict, heatmap = unpack([b"verdict.top", body, bytes.fromhex("00 80 ff 40")])
    assert heatmap is not None
    assert heatmap.grid.tolist() == [[0, 128], [255, 64]]
    assert pack(verdict, heatmap) == [b"verdict.top", body, b"\x00\x80\xff\x40"]


def test_the_documents_request_is_one() -> None:
    request = unpack_request(bytes.fromhex(block("hex-request")))
    assert request == ReplayRequest.model_validate(
        {"id": 42, "do": "read", "camera": "top", "epoch": "5f0c", "from": 8, "to": 10}
    )


def test_the_documents_preview_is_one(tmp_path: Path) -> None:
    body = bytes.fromhex(block("hex-preview"))
    assert msgpack.unpackb(body) == json.loads(block("json-preview"))
    assert table("The body of a preview:") == list(msgpack.unpackb(body))
    preview = unpack_preview([b"preview.top", body, b"jpeg"])
    assert preview.scale == (4.0, 4.0)
    assert pack_preview(preview) == [b"preview.top", body, b"jpeg"]
    program = block("python-preview").replace("tcp://127.0.0.1:5556", address := f"ipc://{tmp_path}/line")
    with PublisherSocket(address) as socket:
        here = os.environ | {"PYTHONPATH": str(ROOT)}
        client = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=here)
        try:
            while not socket.wants_previews:
                socket.mind()
            socket.send(pack_preview(preview))
            until(lambda: (tmp_path / "top.jpg").exists() and (tmp_path / "top.jpg").read_bytes() == b"jpeg")
        finally:
            client.kill()
            client.wait()


def test_the_documents_client_works(tmp_path: Path) -> None:
    program = tmp_path / "client.py"
    program.write_text(block("python"))
    with PublisherSocket("tcp://127.0.0.1:*") as socket:
        command = [sys.executable, str(program), socket.address]
        client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        socket.await_subscribers(1, 60, threading.Event())
        for sequence, outcome in ((0, "ok"), (1, "ng")):
            decided = decide("top", sequence, outcome)  # type: ignore[arg-type]
            socket.send(pack(decided.verdict, decided.heatmap))
        topic, body = pack(decide("top", 2).verdict, None)
        socket.send([topic, msgpack.packb(msgpack.unpackb(body) | {"v": 3})])
        out, errors = client.communicate(timeout=60)
    assert out.decode().split() == ["top", "0", "ok", "top", "1", "ng"]
    assert b"this client reads version 2 and the line sends 3" in errors
    assert client.returncode == 1


def test_a_lines_messages_are_as_the_schema_says(drawn: Path, bundle_path: Path, endpoint: str, tmp_path: Path) -> None:
    """Good parts and bad ones, with their heatmaps, and a picture that cannot be read."""
    for path in [*(drawn / "test" / "good").iterdir(), *next((drawn / "test").glob("[!g]*")).iterdir()]:
        (tmp_path / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    count = len(list(tmp_path.iterdir()))
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 60_000)
    socket.subscribe("verdict.")
    socket.connect(endpoint)
    with build_line(config(bundle_path, f"folder:{tmp_path}", endpoint)) as line:
        line.start()
        messages = [socket.recv_multipart() for _ in range(count)]
    socket.close()
    context.term()
    for parts in messages:
        body = msgpack.unpackb(parts[1])
        CHECK.validate(body)
        verdict, heatmap = unpack(parts)
        assert (heatmap is not None) == ("heatmap" in body) == (len(parts) == 3)
        body.pop("heatmap", None)
        assert json.loads(verdict_json(verdict)) == body
    assert {msgpack.unpackb(parts[1])["verdict"] for parts in messages} == {"ok", "ng", "uninspected"}


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": -1},
        {"sequence": 1.5},
        {"sequence": "7"},
        {"sequence": True},
        {"sequence": 2**63},
        {"verdict": "good"},
        {"reason": "tired"},
        {"score": "high"},
        {"score": [1.0]},
        {"threshold": None},
        {"regions": None},
        {"regions": [{"x": 1}]},
        {"regions": [{"x": 1, "y": 1, "w": 1, "h": 1, "peak": 1.0, "more": 1}]},
        {"regions": [{"x": 1, "y": 1, "w": -1, "h": 1, "peak": 1.0}]},
        {"camera": "c" * 65},
        {"camera": None},
        {"part": 7},
        {"exact": 1},
        {"latency": {"queue": 1}},
        {"latency": []},
        {"unknown": 1},
        {"heatmap": {"h": 28, "w": 28, "low": 0.0}},
        {"heatmap": {"h": 0, "w": 28, "low": 0.0, "high": 1.0}},
        {"heatmap": {"h": 1 << 40, "w": 28, "low": 0.0, "high": 1.0}},
    ],
)
def test_reader_and_schema_refuse_the_same(change: dict[str, Any]) -> None:
    decided = decide("a", 0, "ng")
    parts = pack(decided.verdict, decided.heatmap)
    body = msgpack.unpackb(parts[1]) | change
    assert not CHECK.is_valid(body)
    with pytest.raises(WireError, match=next(iter(change)).replace("unknown", "unexpected|Unexpected")) as caught:
        unpack([parts[0], msgpack.packb(body), parts[2]])
    assert not isinstance(caught.value, VersionError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [0, 1, 3, 2**40])
def test_a_reader_says_which_versions_differ(version: int) -> None:
    topic, body = pack(decide("a", 0).verdict, None)
    with pytest.raises(VersionError, match=f"version {version} and this Taktline reads version 2"):
        unpack([topic, msgpack.packb(msgpack.unpackb(body) | {"v": version})])


def test_the_documents_event_is_one() -> None:
    body = bytes.fromhex(block("hex-event"))
    assert msgpack.unpackb(body) == json.loads(block("json-event"))
    assert json.loads(EVENT_SCHEMA_FILE.read_text()) == event_schema()
    check = jsonschema.Draft202012Validator(event_schema())
    check.check_schema(event_schema())
    check.validate(msgpack.unpackb(body))
    assert table("The body of an event:") == list(event_schema()["properties"])
    assert all("description" in described for described in event_schema()["properties"].values())
    event = unpack_event([b"event.press4", body])
    assert pack_event(event) == [b"event.press4", body]
    compile(block("python-event"), "docs/wire.md", "exec")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"v": 2}, "version 2"),
        ({"kind": "gone"}, "kind"),
        ({"level": "much"}, "level"),
        ({"since_sequence": -1}, "since_sequence"),
        ({"words": 7}, "words"),
        ({"camera": "no name"}, "camera"),
        ({"unknown": 1}, "nexpected"),
    ],
)
def test_a_reader_refuses_what_is_no_event(change: dict[str, Any], why: str) -> None:
    body = msgpack.unpackb(bytes.fromhex(block("hex-event"))) | change
    assert not jsonschema.Draft202012Validator(event_schema()).is_valid(body)
    with pytest.raises(WireError, match=why):
        unpack_event([b"event.press4", msgpack.packb(body)])
