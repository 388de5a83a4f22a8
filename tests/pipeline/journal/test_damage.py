"""What is damaged: it is found, told, put aside, or left out as a gap between the rest."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from engines.errors import DataError
from pipeline.journal.reader import JournalReader
from pipeline.journal.selection import Selection
from pipeline.protocol.gap import Gap
from tests.pipeline.parts import Running, held, sequences, until, verify

PUBLISH = {"verdicts": "tcp://127.0.0.1:*"}


def test_what_is_missing_or_altered_is_found(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        running.publish(30)
    assert verify(path).good
    shown = [found.picture for found in held(path) if found.picture is not None]
    shown[0].unlink()
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM verdicts WHERE sequence IN (7, 8)")
    connection.execute("UPDATE verdicts SET verdict = 'ok' WHERE sequence = 20")
    connection.execute("UPDATE verdicts SET body = x'c1' WHERE sequence = 3")
    connection.commit()
    connection.close()
    faults = "\n".join(verify(path).faults)
    for text in ("from 7 to 8 are missing", "picture camera-a/", "sequence 3: a message's body", "sequence 20: "):
        assert text in faults
    assert len(faults.splitlines()) == 4


def test_a_damaged_journal_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        running.publish(300)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(path.stat().st_size - 100))
    with Running(PUBLISH, {"path": path}) as running:
        published = running.publish(10)
    assert [found.verdict for found in held(path)] == published
    assert all(verdict.journaled for verdict in published)
    assert len(list(tmp_path.glob("line.journal.damaged-*"))) == 1


def test_a_file_that_is_damaged_while_the_line_runs_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        first = running.publish(300)
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.close()
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))
        second = [verdict for _ in range(20) for verdict in running.publish(20)]
        until(lambda: running.status()["trouble"] is None)
        second += running.publish(20)
    assert sequences(first + second) == list(range(720))
    assert second[-1].journaled
    assert second[-1].epoch != first[-1].epoch
    assert verify(path).good
    assert sequences([found.verdict for found in held(path)])[-1] == 719


def damage(path: Path, sequence: int, body: bytes) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE verdicts SET body = ? WHERE sequence = ?", (body, sequence))
        connection.commit()


def test_a_verdict_that_cannot_be_read_is_a_gap_between_the_others(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        (first, *_) = running.publish(30)
    damage(path, 3, b"\xc1")
    older = msgpack.packb(first.to_json() | {"v": 1})
    damage(path, 7, older)
    with JournalReader(path) as reader:
        found = reader.read("a", first.epoch, 0, 29, 200)
        assert [item.last if isinstance(item, Gap) else item.sequence for item in found] == list(range(30))
        assert [item for item in found if isinstance(item, Gap)] == [
            Gap("a", first.epoch, 3, 3, "damaged"), Gap("a", first.epoch, 7, 7, "version"),
        ]  # fmt: skip
        assert len(list(reader.find(Selection()))) == 28
        assert reader.skipped == 2


def test_a_damaged_page_of_the_file_hides_only_what_lies_on_it(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_images": "none"}) as running:
        (first, *_) = running.publish(300, ng_every=2)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        leaves = connection.execute(
            "SELECT pageno FROM dbstat WHERE name = 'verdicts' AND pagetype = 'leaf' ORDER BY pageno"
        ).fetchall()
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((leaves[len(leaves) // 2][0] - 1) * size)
        file.write(bytes(size))
    with JournalReader(path) as reader:
        found = reader.read("a", first.epoch, 0, 299, 300)
        with pytest.raises(DataError, match="taktline journal verify"):
            list(reader.find(Selection()))
    gaps = [item for item in found if isinstance(item, Gap)]
    assert [item.last if isinstance(item, Gap) else item.sequence for item in found] == list(range(300))
    assert {gap.why for gap in gaps} == {"damaged"}
    assert 0 < len(gaps) < 30
