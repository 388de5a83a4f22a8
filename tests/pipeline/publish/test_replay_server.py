"""The replay's server, asked by a socket that knows nothing of Taktline."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from engines.errors import ConfigError
from pipeline.protocol.gap import Gap
from pipeline.protocol.replay import ReplayRequest, unpack_answer
from pipeline.publish.publisher import PublisherSocket
from pipeline.publish.replay_server import ReplaySocket
from tests.pipeline.parts import Running

PUBLISH = {"verdicts": "tcp://127.0.0.1:*", "replay": "tcp://127.0.0.1:*"}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(PUBLISH, {"path": tmp_path / "line.journal"}) as running:
        yield running


@pytest.fixture
def socket(running: Running) -> Iterator[zmq.Socket[Any]]:
    assert running.replay is not None
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        socket.connect(running.replay.address)
        yield socket


def ask(socket: zmq.Socket[Any], message: bytes) -> dict[str, Any]:
    socket.send(message)
    header: dict[str, Any] = msgpack.unpackb(socket.recv_multipart()[0])
    return header


def test_a_verdict_that_cannot_be_read_is_a_gap_and_paging_goes_on(
    running: Running, socket: zmq.Socket[Any], tmp_path: Path
) -> None:
    epoch = running.publish(450)[0].epoch
    with closing(sqlite3.connect(tmp_path / "line.journal")) as other:
        other.execute("UPDATE verdicts SET body = x'c1' WHERE sequence IN (199, 200, 201)")
        other.commit()
    first, items = 0, []
    for number in range(3):
        request = {"id": number, "do": "read", "camera": "a", "epoch": epoch, "from": first, "to": 449}
        socket.send(ReplayRequest.model_validate(request).pack())
        answer = unpack_answer(socket.recv_multipart())
        items += list(answer.items)
        last = items[-1]
        first = 1 + (last.last if isinstance(last, Gap) else last[0].sequence)
        if not answer.more:
            break
    assert [item for item in items if isinstance(item, Gap)] == [
        Gap("a", epoch, 199, 199, "damaged"), Gap("a", epoch, 200, 201, "damaged"),
    ]  # fmt: skip
    read = [item[0].sequence for item in items if not isinstance(item, Gap)]
    assert read == [*range(199), *range(202, 450)]


def test_a_refusal_carries_the_id_of_its_request(socket: zmq.Socket[Any]) -> None:
    for message, number in (
        (msgpack.packb({"v": 99, "id": 7, "do": "series"}), 7),
        (msgpack.packb({"id": 8, "do": "dance"}), 8),
        (msgpack.packb({"id": -1}), 0),
        (b"\xc1", 0),
    ):
        answer = ask(socket, message)
        assert (answer["ok"], answer["id"]) == (False, number)
    good = ReplayRequest(id=5, do="series").pack()
    socket.send_multipart([good, b"and another part"])
    assert msgpack.unpackb(socket.recv_multipart()[0])["id"] == 5


def test_too_many_requests_are_refused_by_their_ids(socket: zmq.Socket[Any]) -> None:
    for number in range(60):
        socket.send(ReplayRequest(id=number, do="series").pack())
    answers = [msgpack.unpackb(socket.recv_multipart()[0]) for _ in range(60)]
    assert [answer["id"] for answer in answers] == list(range(60))
    assert {"too many requests at once"} == {answer["error"] for answer in answers if not answer["ok"]}


@pytest.mark.parametrize("port", ["99999", "65536", "", "-1", "http"])
def test_a_port_that_does_not_exist_is_refused(port: str) -> None:
    """ZeroMQ binds 34463 where it is asked for 99999."""
    with pytest.raises(ConfigError, match="has no port from 1 to 65535"):
        PublisherSocket(f"tcp://127.0.0.1:{port}")
    with pytest.raises(ConfigError, match="has no port from 1 to 65535"):
        ReplaySocket(f"tcp://127.0.0.1:{port}")
