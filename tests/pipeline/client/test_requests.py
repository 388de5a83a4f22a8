"""Requests to the replay over a real socket: nonsense is refused, pages and rates are bounded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgpack
import zmq

from tests.pipeline.parts import Running


def ask(address: str, *parts: bytes) -> list[Any]:
    """Sends something to the replay and returns the answer's header."""
    context = zmq.Context()
    client = context.socket(zmq.DEALER)
    client.setsockopt(zmq.LINGER, 0)
    client.connect(address)
    client.send_multipart(parts)
    assert client.poll(10_000)
    answer = client.recv_multipart()
    client.close()
    context.term()
    return [msgpack.unpackb(answer[0]), *answer[1:]]


def test_nonsense_is_refused_and_verdicts_go_on(publish: dict[str, Any], tmp_path: Path) -> None:
    good = {"v": 2, "id": 5, "do": "read", "camera": "a", "epoch": "ab", "from": 0, "to": 10}
    nonsense = [
        b"", b"\xc1", b"\x91" * 5000, os.urandom(3000), msgpack.packb([1]), msgpack.packb({}), msgpack.packb({1: 2}),
        msgpack.packb(good | {"from": -1}), msgpack.packb(good | {"to": "x"}), msgpack.packb(good | {"v": 1}),
        msgpack.packb(good | {"camera": "../a"}), msgpack.packb(good | {"epoch": "' OR 1"}),
        msgpack.packb(good | {"id": 2**64 - 1}), msgpack.packb(good | {"more": 1}), msgpack.packb(good | {"id": True}),
        msgpack.packb({"v": 2, "id": 5, "do": "series", "cameras": ["a"] * 65}),
    ]  # fmt: skip
    with Running(publish, {"path": tmp_path / "line.journal"}) as running:
        running.publish(5)
        for message in nonsense:
            header, *rest = ask(publish["replay"], message)
            assert header["ok"] is False and header["error"] and not rest
        assert ask(publish["replay"], *[b"x"] * 1000)[0]["ok"] is False
        header, *rest = ask(publish["replay"], msgpack.packb(good))
        assert header == {"v": 2, "id": 5, "ok": True, "count": 0, "more": False} and not rest
        # What is longer than any question ends the connection, not the line.
        context = zmq.Context()
        client = context.socket(zmq.DEALER)
        client.setsockopt(zmq.LINGER, 0)
        client.connect(publish["replay"])
        client.send(b"x" * 20_000_000)
        assert not client.poll(300)
        client.close()
        context.term()
        assert running.publish(5)[-1].journaled
        assert ask(publish["replay"], msgpack.packb({"v": 2, "id": 6, "do": "series"}))[0]["series"] == [
            ["a", running.status()["epoch"], 0, 9]
        ]


def test_pages_are_bounded_and_questions_limited(publish: dict[str, Any], tmp_path: Path) -> None:
    with Running(publish, {"path": tmp_path / "line.journal"}) as running:
        epoch = running.publish(500)[0].epoch
        question = {"v": 2, "id": 1, "do": "read", "camera": "a", "epoch": epoch, "from": 0, "to": 2**62}
        header, *rest = ask(publish["replay"], msgpack.packb(question))
        assert (header["count"], header["more"], len(rest)) == (200, True, 400)
        assert [msgpack.unpackb(body)["sequence"] for body in rest[::2]] == list(range(200))
        context = zmq.Context()
        plain = context.socket(zmq.REQ)
        plain.connect(publish["replay"])
        plain.send(msgpack.packb(question | {"from": 400}))
        header, *rest = plain.recv_multipart()
        assert (msgpack.unpackb(header)["count"], msgpack.unpackb(header)["more"], len(rest)) == (100, False, 200)
        plain.close()
        client = context.socket(zmq.DEALER)
        client.setsockopt(zmq.LINGER, 0)
        client.connect(publish["replay"])
        for _ in range(200):
            client.send(msgpack.packb(question))
        answers = [msgpack.unpackb(client.recv_multipart()[0]) for _ in range(200) if client.poll(2000)]
        client.close()
        context.term()
        refused = [answer for answer in answers if not answer["ok"]]
        assert refused and all(answer["retry_s"] > 0 for answer in refused)
        assert running.publish(10)[-1].journaled
