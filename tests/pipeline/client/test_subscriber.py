"""Subscribers and the replay over real sockets: what was missed is fetched, and nonsense is refused."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import psutil
import pytest
import zmq

from engines.errors import ConfigError
from pipeline.client.async_subscriber import AsyncVerdictSubscriber
from pipeline.client.position import Position
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.protocol.verdict import Verdict
from tests.conftest import ROOT
from tests.pipeline.conftest import SmallDisk
from tests.pipeline.parts import Running, held, sequences, until


@pytest.fixture
def publish(tmp_path: Path) -> dict[str, Any]:
    addresses = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            addresses.append(f"tcp://127.0.0.1:{probe.getsockname()[1]}")
    return {"verdicts": addresses[0], "replay": addresses[1]}


def open_subscriber(publish: dict[str, Any], **values: Any) -> VerdictSubscriber:
    return VerdictSubscriber(publish["verdicts"], replay=publish["replay"], **values)


@pytest.mark.usefixtures("no_thread_left")
def test_what_was_published_before_and_between_comes_as_well(publish: dict[str, Any], tmp_path: Path) -> None:
    journal = {"path": tmp_path / "line.journal"}
    with open_subscriber(publish, since={}) as subscriber:
        received, published = [], []
        for _ in range(3):
            with Running(publish, journal, ("a", "b")) as running:
                published += running.publish(700, "a") + running.publish(9, "b")
                received += [subscriber.receive(30) for _ in range(709)]
                with pytest.raises(TimeoutError):
                    subscriber.receive(0.1)
        assert subscriber.missed == 0
    for camera in "ab":
        assert [v for v, _ in received if v.camera == camera] == [v for v in published if v.camera == camera]
    for verdict, heatmap in received:
        assert (heatmap is not None) == (verdict.verdict == "ng")
        if heatmap is not None:
            np.testing.assert_array_equal(heatmap.grid, verdict.sequence % 256)


def test_a_stored_position_is_gone_on_from(publish: dict[str, Any], tmp_path: Path) -> None:
    with Running(publish, {"path": tmp_path / "line.journal"}) as running:
        running.publish(50)
        position: Position = {}
        got: list[int] = []
        for count in (13, 1, 26, 10):
            with open_subscriber(publish, since=position) as subscriber:
                got += [subscriber.receive(30)[0].sequence for _ in range(count)]
                position = json.loads(json.dumps(subscriber.position))
        assert got == list(range(50))
        with open_subscriber(publish, since={"a": 44}) as subscriber:
            assert [subscriber.receive(30)[0].sequence for _ in range(5)] == list(range(45, 50))


def test_the_last_before_a_pause_is_not_missed(publish: dict[str, Any], tmp_path: Path) -> None:
    """The subscriber's own connection loses it, and nothing follows that would show the gap."""
    with Running(publish, {"path": tmp_path / "line.journal"}) as running, open_subscriber(publish) as subscriber:
        running.socket.await_subscribers(1, 30, threading.Event())
        running.publish(3)
        assert [subscriber.receive(30)[0].sequence for _ in range(3)] == [0, 1, 2]
        subscriber._sockets[0].disconnect(publish["verdicts"])
        running.publish(2)
        assert [subscriber.receive(30)[0].sequence for _ in range(2)] == [3, 4]


def test_a_subscriber_that_is_too_slow_asks_for_what_its_queue_had_no_room_for(
    publish: dict[str, Any], tmp_path: Path
) -> None:
    count = 20_000
    publish = publish | {"verdicts": f"ipc://{tmp_path / 'verdicts.sock'}", "queue": 10}
    with (
        Running(publish, {"path": tmp_path / "line.journal"}) as running,
        open_subscriber(publish, queue=10) as subscriber,
        VerdictSubscriber(publish["verdicts"], queue=10) as careless,
    ):
        running.socket.await_subscribers(2, 30, threading.Event())
        for _ in range(count // 500):
            running.publish(500)
        came = []
        with suppress(TimeoutError):
            while True:
                came.append(careless.receive(1)[0].sequence)
        assert came == sorted(set(came))
        assert len(came) < count / 2
        assert [subscriber.receive(60)[0].sequence for _ in range(count)] == list(range(count))
        assert subscriber.missed == 0


@pytest.mark.usefixtures("no_thread_left")
def test_the_asyncio_twin(publish: dict[str, Any], tmp_path: Path) -> None:
    async def receive() -> tuple[list[Verdict], Position]:
        address, replay = publish["verdicts"], publish["replay"]
        got: list[Verdict] = []
        async with AsyncVerdictSubscriber(address, ("a",), replay=replay, since={}) as subscriber:
            async for verdict in subscriber:
                got.append(verdict)
                if len(got) == 300:
                    await asyncio.to_thread(running.publish, 300, "a")
                if len(got) == 600:
                    break
            with pytest.raises(TimeoutError):
                await subscriber.receive(0.2)
            assert subscriber.missed == 0
            return got, subscriber.position

    with Running(publish, {"path": tmp_path / "line.journal"}, ("a", "aa")) as running:
        published = running.publish(300, "a")
        running.publish(3, "aa")
        got, position = asyncio.run(receive())
        assert got[:300] == published
        assert sequences(got) == list(range(600))
        assert position == {"a": {"epoch": got[0].epoch, "sequence": 599}}


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


def test_no_handle_is_left_behind(publish: dict[str, Any], tmp_path: Path) -> None:
    process = psutil.Process()
    counts = []
    for _ in range(3):
        running = Running(publish, {"path": tmp_path / "line.journal"})
        with running, open_subscriber(publish, since={}) as subscriber:
            running.publish(20)
            subscriber.receive(30)
        counts.append((process.num_fds(), threading.active_count()))
    assert counts[1] == counts[2]


def test_an_address_that_is_none_is_told(publish: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no address"):
        VerdictSubscriber("nonsense")
    with pytest.raises(ConfigError, match="no address"):
        VerdictSubscriber(publish["verdicts"], replay="tcp://")


def test_the_example_works_as_pasted(publish: dict[str, Any], tmp_path: Path) -> None:
    """In a process of its own, stopped and started again."""
    text = inspect.getdoc(VerdictSubscriber)
    assert text is not None
    example = textwrap.dedent(text.split("earlier run stopped.\n", 1)[1].split("\nArgs:", 1)[0])
    assert example.strip() in (ROOT / "README.md").read_text()
    for address, own in (("5556", publish["verdicts"]), ("5557", publish["replay"])):
        example = example.replace(f"tcp://127.0.0.1:{address}", own)
    (tmp_path / "example.py").write_text(example)
    (tmp_path / "position.json").write_text("{}")
    path = tmp_path / "line.journal"
    command = [sys.executable, "-u", "example.py"]
    lines: list[str] = []
    with Running(publish, {"path": path}) as running:
        for count in (5, 7):
            running.publish(count)
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                lines += [process.stdout.readline() for _ in range(count)]
                deadline = time.monotonic() + 30
                while json.loads((tmp_path / "position.json").read_text() or "{}").get("a", {}).get("sequence") != (
                    len(lines) - 1
                ):
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
                process.kill()
    assert [int(line.split()[1]) for line in lines] == list(range(12)) == sequences([f.verdict for f in held(path)])


def test_what_waits_for_a_full_disk_can_be_had_as_well(publish: dict[str, Any], disk: SmallDisk) -> None:
    with (
        Running(publish, {"path": disk.folder / "line.journal", "keep_images": "none"}) as running,
        open_subscriber(publish, since={}) as early,
    ):
        published = running.publish(30)
        got = [early.receive(30)[0] for _ in range(30)]
        disk.fill()
        for _ in range(8):
            published += running.publish(50)
        assert not published[-1].journaled
        with open_subscriber(publish, since={}) as late:
            assert [late.receive(30)[0] for _ in published] == published
            disk.free()
            until(lambda: running.status()["trouble"] is None)
            published += running.publish(30)
            assert [late.receive(30)[0] for _ in range(30)] == published[-30:]
        got += [early.receive(30)[0] for _ in range(430)]
        with open_subscriber(publish, since={}) as later:
            assert [later.receive(30)[0] for _ in published] == published
    assert got == published


def test_watch_asks_for_what_it_missed(publish: dict[str, Any], tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "taktline", "watch", publish["verdicts"], "--replay", publish["replay"], "--json",
        "--count", "300", "--timeout", "60",
    ]  # fmt: skip
    publish = publish | {"queue": 1}
    with (
        Running(publish, {"path": tmp_path / "line.journal"}) as running,
        (tmp_path / "seen").open("w+") as seen,
        subprocess.Popen(command, cwd=ROOT, stdout=seen) as watch,
    ):
        running.socket.await_subscribers(1, 60, threading.Event())
        while watch.poll() is None:
            running.publish(50)
            time.sleep(0.05)
        seen.seek(0)
        found = [json.loads(line)["sequence"] for line in seen]
    assert watch.returncode == 0
    assert found == list(range(found[0], found[0] + 300))
