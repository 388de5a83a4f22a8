"""A bridge from several lines to one database: the server is killed, and so is the bridge."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from pipeline.journal.reader import JournalReader
from pipeline.journal.selection import Selection
from tests.conftest import RunTaktline
from tests.peers.postgres import Postgres
from tests.pipeline.bridges.conftest import KILLED, BridgeProcess, OpenBridge, publish_slowly
from tests.pipeline.parts import Running, until

NAMES = ("press1", "press2", "press3")
Key = tuple[str, str, str, int]


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


def journaled(folder: Path) -> list[Key]:
    found: list[Key] = []
    for name in NAMES:
        with JournalReader(folder / f"{name}.journal") as reader:
            found += [
                (name, verdict.epoch, verdict.camera, verdict.sequence)
                for verdict, *_ in reader.find(Selection(), 100_000)
            ]
    return sorted(found)


def test_every_verdict_is_stored_once_though_server_and_bridge_are_killed_twice(
    lines: list[Running], tmp_path: Path
) -> None:
    with Postgres() as server, ExitStack() as stack:
        server.start()
        bridge = BridgeProcess(tmp_path, "sql", "--url", server.url, "--lines", tmp_path / "plant.toml")
        stack.callback(bridge.kill)
        publishing = [publish_slowly(line, 1500) for line in lines]

        def stored() -> int:
            rows = server.ask("SELECT CASE WHEN to_regclass('verdicts') IS NULL THEN -1 END")
            return 0 if rows[0][0] else int(server.ask("SELECT count(*) FROM verdicts")[0][0])

        for count, kill_server in ((400, True), (900, False), (1500, True), (2200, False)):
            until(lambda count=count: stored() >= count)
            if kill_server:
                server.kill()
                time.sleep(0.3)
                server.start()
            else:
                assert bridge.end(signal.SIGKILL) == KILLED
                bridge.start()
        for thread in publishing:
            thread.join()
        expected = journaled(tmp_path)
        assert len(expected) == 4500
        until(lambda: stored() >= 4500)
        found = server.ask("SELECT line, epoch, camera, sequence FROM verdicts ORDER BY 1, 2, 3, 4")
        assert bridge.end() == 0
    assert found == expected


def test_a_file_holds_each_verdict_once_though_the_bridge_is_killed(
    running: Running, open_bridge: OpenBridge, tmp_path: Path, taktline_in_process: RunTaktline
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
        until(lambda: len(stored()) >= 1000)
        assert bridge.end() == 0
    finally:
        bridge.kill()
    assert stored() == list(range(1000))
    # A line that calls itself otherwise than expected.
    done = taktline_in_process("bridge", "sql", "--url", tmp_path / "other.sqlite", "--line", "press4", *places)
    assert done.returncode == 2
    assert "calls itself 'test'" in " ".join(done.stderr.split())


def test_a_line_that_cannot_be_followed_does_not_hold_up_others(lines: list[Running], tmp_path: Path) -> None:
    (tmp_path / "plant.toml").write_text(entry(lines[0]) + entry(lines[1], "press9"))
    file = tmp_path / "plant.sqlite"
    bridge = BridgeProcess(tmp_path, "sql", "--url", file, "--lines", tmp_path / "plant.toml")
    try:
        for line in lines[:2]:
            line.publish(20)
        until(lambda: "calls itself 'press2'" in " ".join((tmp_path / "bridge.log").read_text().split()))
        lines[0].publish(20)

        def lines_stored() -> list[tuple[str, int]]:
            with closing(sqlite3.connect(file)) as connection:
                return connection.execute("SELECT line, count(*) FROM verdicts GROUP BY line").fetchall()

        until(lambda: lines_stored() == [("press1", 40)])
        assert bridge.end() == 0
    finally:
        bridge.kill()


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
