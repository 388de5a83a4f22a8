"""A bridge from several lines to one database: the server is killed, and so is the bridge."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgpack
import pytest
import zmq

from pipeline.protocol.verdict import pack
from tests.conftest import RunTaktline
from tests.pipeline.bridges.conftest import KILLED, BridgeProcess, publish_slowly
from tests.pipeline.bridges.plant import measure
from tests.pipeline.parts import Running, decide, until

NAMES = ("press1", "press2")


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[list[Running]]:
    """Lines with journals and replays, and a file that names them."""
    with ExitStack() as stack:
        found = [
            stack.enter_context(
                Running(
                    {"verdicts": "tcp://127.0.0.1:*", "replay": "tcp://127.0.0.1:*"},
                    {"path": tmp_path / f"{name}.journal"},
                    name=name,
                )
            )
            for name in NAMES
        ]
        (tmp_path / "plant.toml").write_text("".join(entry(line) for line in found))
        yield found


def entry(line: Running, name: str | None = None) -> str:
    assert line.replay is not None
    return (
        f'[[line]]\nname = "{name or line.name}"\nverdicts = "{line.socket.address}"\n'
        f'replay = "{line.replay.address}"\n'
    )


@pytest.mark.long(150)
def test_every_verdict_of_a_plant_is_stored_once_though_server_and_bridge_are_killed_twice(tmp_path: Path) -> None:
    found = measure(tmp_path, lines=100, rate=20, seconds=120)
    print(found)
    assert found["journaled"] > 200_000
    assert (found["stored"], found["missing"], found["twice"]) == (found["journaled"], 0, 0)
    assert found["bridge_exit"] == 0


def test_a_file_holds_each_verdict_once_though_the_bridge_is_killed(
    running: Running, tmp_path: Path
) -> None:
    file = tmp_path / "plant.sqlite"
    assert running.replay is not None
    places = ("--from", running.socket.address, "--replay", running.replay.address, "--oldest")
    bridge = BridgeProcess(tmp_path, "sql", "--url", f"sqlite:{file}", "--line", "test", *places)
    publishing = publish_slowly(running, 1000)

    def stored() -> list[int]:
        if not file.exists():
            return []
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            try:
                return [row[0] for row in connection.execute("SELECT sequence FROM verdicts ORDER BY sequence")]
            except sqlite3.OperationalError:
                return []

    try:
        for count in (200, 600):
            until(lambda count=count: len(stored()) >= count)
            assert bridge.end(signal.SIGKILL) == KILLED
            bridge.start()
        publishing.join()
        running.publish(50)
        until(lambda: len(stored()) >= 1050)
        assert bridge.end() == 0
    finally:
        bridge.kill()
    assert stored() == list(range(1050))


def test_a_line_of_another_version_does_not_hold_up_others_and_one_of_another_name_is_told_of(
    lines: list[Running], tmp_path: Path
) -> None:
    context = zmq.Context()
    other = context.socket(zmq.PUB)
    other.setsockopt(zmq.LINGER, 0)
    port = other.bind_to_random_port("tcp://127.0.0.1")
    topic, body = pack(decide("a", 0).verdict, None)
    newer = msgpack.packb(msgpack.unpackb(body) | {"v": 99})
    (tmp_path / "plant.toml").write_text(
        f'{entry(lines[0])}{entry(lines[1], "press9")}[[line]]\nname = "press7"\n'
        f'verdicts = "tcp://127.0.0.1:{port}"\nreplay = "tcp://127.0.0.1:{port}"\n'
    )
    file = tmp_path / "plant.sqlite"
    bridge = BridgeProcess(tmp_path, "sql", "--url", file, "--lines", tmp_path / "plant.toml")

    def said() -> str:
        other.send_multipart([topic, newer])
        return " ".join((tmp_path / "bridge.log").read_text().split())

    def stored() -> list[tuple[str, int]]:
        with closing(sqlite3.connect(file)) as connection:
            return connection.execute("SELECT line, count(*) FROM verdicts GROUP BY line").fetchall()

    try:
        for line in lines:
            line.publish(20)
        until(lambda: "line press7 is not stored from now on" in said() and "calls itself 'press2'" in said())
        for line in lines:
            line.publish(20)
        until(lambda: stored() == [("press1", 40), ("press2", 40)])
        assert bridge.end() == 0
    finally:
        bridge.kill()
        other.close()
        context.term()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--url", "mysql://db"), "no store mysql://"),
        (("--url", "plant.sqlite", "--oldest"), "give the line's replay address"),
        (("--url", "plant.sqlite", "--lines", "FILE", "--replay", "tcp://127.0.0.1:1"), "leave them out here"),
        (("--url", "plant.sqlite", "--lines", "FILE"), "has no address of its verdicts"),
        (("--url", "plant.sqlite", "--lines", "WRONG"), "did you mean 'verdicts'"),
    ],
)
def test_what_no_bridge_can_do(
    arguments: tuple[str, ...], message: str, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    (tmp_path / "FILE").write_text('[[line]]\nname = "press4"\n')
    (tmp_path / "WRONG").write_text('[[line]]\nname = "press4"\nverdict = "tcp://127.0.0.1:5556"\n')
    words = [tmp_path / word if word in ("FILE", "WRONG") else word for word in arguments]
    done = taktline_in_process("bridge", "sql", *words)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
