"""Subscribers over real sockets: what they missed is fetched."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import ConfigError
from pipeline.client.async_subscriber import AsyncVerdictSubscriber
from pipeline.client.position import Position
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.protocol.gap import Gap
from pipeline.protocol.verdict import Verdict
from tests.paths import ROOT
from tests.pipeline.conftest import SmallDisk
from tests.pipeline.parts import Running, held, sequences, settled_handles, until


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
    journal = {"path": tmp_path / "line.journal"}
    with Running(publish, journal) as running, open_subscriber(publish, since={}) as subscriber:
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


def test_no_handle_is_left_behind(publish: dict[str, Any], tmp_path: Path) -> None:
    counts = []
    for _ in range(3):
        running = Running(publish, {"path": tmp_path / "line.journal"})
        with running, open_subscriber(publish, since={}) as subscriber:
            running.publish(20)
            subscriber.receive(30)
        counts.append(settled_handles())
    assert counts[1] == counts[2]


def test_an_address_that_is_none_is_told(publish: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="not an address"):
        VerdictSubscriber("nonsense")
    with pytest.raises(ConfigError, match="not an address"):
        VerdictSubscriber(publish["verdicts"], replay="tcp://")


@pytest.mark.parametrize("port", ["0", "*", "", "99999", "http"])
@pytest.mark.usefixtures("no_thread_left")
def test_a_port_that_no_line_can_have_is_told(port: str) -> None:
    """ZeroMQ connects to 34463 where it is asked for 99999, and subscribers wait forever."""
    with pytest.raises(ConfigError, match="the port must be from 1 to 65535"):
        VerdictSubscriber(f"tcp://127.0.0.1:{port}")


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


@pytest.mark.parametrize(
    ("change", "why"),
    [("DELETE FROM verdicts", "gone"), ("UPDATE verdicts SET body = x'c1'", "damaged")],
)
def test_a_gap_is_told_in_its_place_and_verdicts_go_on(
    publish: dict[str, Any], tmp_path: Path, change: str, why: Any
) -> None:
    """To a subscriber, to one that goes on just before the gap, and to the asyncio twin."""
    path, addresses = tmp_path / "line.journal", (publish["verdicts"], ("a",), publish["replay"])
    came: list[int | Gap] = []

    async def receive() -> int:
        async with AsyncVerdictSubscriber(*addresses, since={}, on_gap=came.append) as subscriber:
            for _ in range(17):
                verdict, _ = await subscriber.receive(30)
                came.append(verdict.sequence)
            return subscriber.missed

    with Running(publish, {"path": path}) as running:
        gap = Gap("a", running.publish(20)[0].epoch, 3, 5, why)
        with closing(sqlite3.connect(path)) as journal, journal:
            journal.execute(f"{change} WHERE sequence BETWEEN 3 AND 5")
        with VerdictSubscriber(*addresses, since={"a": 0}, on_gap=came.append) as subscriber:
            came += [subscriber.receive(30)[0].sequence for _ in range(2)]
            position = json.loads(json.dumps(subscriber.position))
        assert came == [1, 2]
        with VerdictSubscriber(*addresses, since=position, on_gap=came.append) as subscriber:
            for _ in range(14):
                came.append(subscriber.receive(30)[0].sequence)
            assert subscriber.missed == 3
        assert came == [1, 2, gap, *range(6, 20)]
        came.clear()
        assert asyncio.run(receive()) == 3
        assert came == [0, 1, 2, gap, *range(6, 20)]
