"""A journal of an earlier Taktline is read as it is, and searched once its facts are there."""

from __future__ import annotations

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path

import msgpack
import pytest

from engines.errors import ConfigError, DataError
from pipeline.journal.file import open_writer, write_entries
from pipeline.journal.history import History
from pipeline.journal.indexing import index_journal
from pipeline.journal.labels import LabelBook, VerdictKey
from pipeline.journal.selection import Selection
from pipeline.protocol.verdict import Verdict
from tests.pipeline.journal.drawn import BEGAN, COUNT, HOUR, PUBLISH, SELECTIONS, draw, entry, expected
from tests.pipeline.parts import Running, held, until, verify


def version_1(path: Path, verdicts: list[Verdict]) -> None:
    """Writes a journal as the first Taktline did."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(Path(__file__).with_name("version_1.sql").read_text())
        connection.execute("INSERT INTO epochs VALUES (1, 'ab1', 0)")
        connection.executemany(
            "INSERT INTO verdicts (epoch, camera, sequence, captured_at, verdict, body) VALUES (1, ?, ?, ?, ?, ?)",
            [(v.camera, v.sequence, v.captured_at, v.verdict, entry(v).body) for v in verdicts],
        )
        heads = {v.camera: v.sequence for v in verdicts}
        connection.executemany("INSERT INTO heads VALUES (?, 1, ?)", heads.items())
        connection.commit()


def test_an_older_journal_is_read_at_once_and_searched_once_its_line_has_run(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    verdicts = draw()
    version_1(path, verdicts)
    assert sorted(found.verdict.sequence for found in held(path)) == list(range(COUNT))
    simple = Selection(("a",), since=BEGAN + HOUR, verdicts=("ng",))
    assert sorted(found.verdict.sequence for found in held(path, simple)) == sorted(expected(simple))
    with pytest.raises(DataError, match="cannot be searched for that yet; `taktline journal index"):
        held(path, Selection(part="*"))
    with History(path) as history:
        assert history.unsearched == COUNT
        with pytest.raises(DataError, match="was written by an earlier Taktline"):
            history.page(Selection())
    with LabelBook(path) as book:
        book.set(VerdictKey(verdicts[0].camera, "ab1", 0), "confirmed", "anna")
    with Running(PUBLISH, {"path": path}) as running, History(path) as history:
        new = running.publish(5)
        assert history.page(Selection(), size=5).found[0].verdict == new[-1]
        until(lambda: history.unsearched == 0)
        assert history.count(Selection()).number == COUNT + 5
        for selection in SELECTIONS:
            if not selection.labels and not selection.unlabelled:
                narrow = dataclasses.replace(selection, until=selection.until or BEGAN + 9 * HOUR)
                found = [found.verdict.sequence for found in history.page(narrow, size=1000).found]
                assert found == expected(selection)
    assert not [fault for fault in verify(path).faults if "history" in fault]
    assert held(path, Selection(labels=("confirmed",)))[0].verdict.sequence == 0


def test_a_journal_can_be_made_searchable_without_its_line(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    version_1(path, draw())
    with closing(sqlite3.connect(path)) as connection:
        # Damaged and foreign bodies are found by their time and camera.
        connection.execute("UPDATE verdicts SET body = x'c1' WHERE sequence = 3")
        foreign = msgpack.packb({"latency": {}, "score": "x"})
        connection.execute("UPDATE verdicts SET body = ? WHERE sequence = 4", (foreign,))
        connection.commit()
    steps: list[int] = []
    assert index_journal(path, steps.append) == COUNT
    assert steps == sorted(steps)
    with History(path) as history:
        assert (history.unsearched, history.count(Selection()).number) == (0, COUNT)
        found = [found.verdict.sequence for found in history.page(Selection(part="lot-3/*"), size=1000).found]
        assert found == [sequence for sequence in expected(Selection(part="lot-3/*")) if sequence not in (3, 4)]
    assert index_journal(path, steps.append) == 0
    with Running(PUBLISH, {"path": path}), pytest.raises(ConfigError, match="another line is writing"):
        index_journal(path, steps.append)


def test_facts_come_from_the_body_where_nobody_gives_them(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with closing(open_writer(path, "process")) as connection:
        write_entries(connection, [entry(verdict, facts=False) for verdict in draw()], BEGAN)
    for selection in (Selection(part="lot-3/*"), Selection(lowest=9.0), Selection(reasons=("late",))):
        assert sorted(found.verdict.sequence for found in held(path, selection)) == sorted(expected(selection))
