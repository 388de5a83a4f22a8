"""Labels and the audit: kept beside the journal, whoever is writing, and shown wherever a verdict is shown."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engines.errors import ConfigError, DataError, TaktlineError
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.journal.audit import AuditTrail
from pipeline.journal.export import export
from pipeline.journal.labels import LabelBook, VerdictKey, check_label
from pipeline.journal.people import PeopleFile, people_path
from pipeline.journal.reader import JournalReader
from pipeline.journal.selection import Selection
from pipeline.protocol.label import Label
from pipeline.protocol.verdict import Verdict
from tests.pipeline.parts import Running, held, until

PUBLISH = {"verdicts": "tcp://127.0.0.1:*", "replay": "tcp://127.0.0.1:*"}


def key(verdict: Verdict) -> VerdictKey:
    return VerdictKey(verdict.camera, verdict.epoch, verdict.sequence)


@pytest.mark.usefixtures("no_thread_left")
def test_a_label_is_set_while_the_line_runs_and_while_it_is_down(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        first, second, third = running.publish(3)
        assert not people_path(path).exists()
        with LabelBook(path) as book:
            stored = book.set(key(first), "false alarm", "anna", "dust")
            later = running.publish(1)
    with LabelBook(path, wall_ns=lambda: 7) as book:
        book.set(key(second), "confirmed", "anna")
        book.set(key(second), "missed defect", "bert", "a scratch that nobody saw: Kratzer")
        book.set(key(third), "confirmed", "anna")
        assert book.set(key(third), None, "anna", "the wrong part") is None
        assert [tuple(change) for change in book.history(key(second))] == [
            ("missed defect", "bert", 7, "a scratch that nobody saw: Kratzer"), ("confirmed", "anna", 7, ""),
        ]  # fmt: skip
        assert [change.label for change in book.history(key(third))] == [None, "confirmed"]
    labels = [found.verdict.label for found in held(path)]
    assert labels == [stored, Label("missed defect", "bert", 7, "a scratch that nobody saw: Kratzer"), None, None]
    assert [found.verdict.sequence for found in held(path, Selection(labels=("missed defect",)))] == [1]
    assert [found.verdict.sequence for found in held(path, Selection(unlabelled=True))] == [2, later[0].sequence]


def test_a_replayed_verdict_carries_its_label(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        published = running.publish(5)
        assert running.replay is not None
        with LabelBook(path) as book:
            stored = book.set(key(published[3]), "missed defect", "anna", "n" * 1000)
        with VerdictSubscriber(running.socket.address, replay=running.replay.address, since={"a": -1}) as subscriber:
            received = [subscriber.receive(30)[0] for _ in range(5)]
    assert [verdict.label for verdict in received] == [None, None, None, stored, None]
    assert "label" not in received[0].to_json()
    assert received[3].to_json()["label"]["note"] == "n" * 1000


def test_labels_leave_with_their_verdicts_and_survive_a_journal_that_is_put_aside(tmp_path: Path) -> None:
    path, now = tmp_path / "line.journal", time.time_ns()
    day = 86_400 * 10**9
    with Running(PUBLISH, {"path": path}) as running:
        old = running.publish(200, captured_at=now - 3 * day)
        new = running.publish(2, captured_at=now)
    with LabelBook(path) as book:
        for verdict in (*old[::20], *new):
            book.set(key(verdict), "confirmed", "anna")

    def labelled() -> list[int]:
        with closing(sqlite3.connect(people_path(path))) as people:
            return [row[0] for row in people.execute("SELECT sequence FROM labels ORDER BY sequence")]

    with Running(PUBLISH, {"path": path, "keep_days": 1}):
        until(lambda: labelled() == [200, 201])
    assert len(held(path)) == 2
    path.rename(tmp_path / "aside")
    with Running(PUBLISH, {"path": path, "keep_days": 1}) as running:
        running.publish(1)
        time.sleep(0.5)
    assert labelled() == [200, 201]


def _label_many(path: Path, first: VerdictKey, count: int) -> None:
    with LabelBook(path) as book:
        for offset in range(count):
            book.set(first._replace(sequence=first.sequence + offset % 10), "confirmed", f"person {offset}")


def test_many_programs_label_at_once_and_the_newest_counts(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        first = running.publish(10)[0]
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_label_many, args=(path, key(first), 30)) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join(60)
    assert [other.exitcode for other in others] == [0, 0, 0]
    with closing(sqlite3.connect(people_path(path))) as people:
        assert people.execute("SELECT count(*), sum(current) FROM labels").fetchone() == (90, 10)


def test_the_file_is_created_once_by_programs_that_come_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def create(path: Path) -> None:
        together.wait()
        PeopleFile(path).close()

    with ThreadPoolExecutor(4) as pool:
        for number in range(40):
            list(pool.map(create, [tmp_path / f"{number}.journal"] * 4))


def test_one_part_cannot_fill_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        first = running.publish(1)[0]
    with LabelBook(path) as book:
        for number in range(130):
            book.set(key(first), "confirmed", f"{number}")
        history = book.history(key(first))
    assert [change.by for change in history] == [f"{number}" for number in range(129, 29, -1)]


def test_a_program_that_hangs_in_a_label_holds_no_verdict_up(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        first = running.publish(1)[0]
        with LabelBook(path) as book:
            book.set(key(first), "confirmed", "anna")
        with closing(sqlite3.connect(people_path(path), isolation_level=None)) as hanging:
            hanging.execute("BEGIN EXCLUSIVE")
            published = running.publish(200)
            assert all(verdict.journaled for verdict in published)
            assert running.status()["trouble"] is None
            # Readers do not wait either.
            assert held(path)[0].verdict.label is not None
            hanging.execute("ROLLBACK")


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""], ids=["foreign", "empty"])
def test_a_journal_can_be_read_without_its_labels(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        published = running.publish(3)
        assert running.replay is not None
        people_path(path).write_bytes(content)
        assert [found.verdict for found in held(path)] == published
        with VerdictSubscriber(running.socket.address, replay=running.replay.address, since={"a": -1}) as subscriber:
            assert [subscriber.receive(30)[0] for _ in range(3)] == published
        if content:
            with pytest.raises(DataError, match="is damaged"):
                LabelBook(path)
    assert people_path(path).read_bytes() == content


def test_a_reader_that_is_open_sees_the_first_label(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        first = running.publish(1)[0]
    with JournalReader(path) as reader:
        assert reader.labels("a", first.epoch, 0, 9) == {}
        with LabelBook(path) as book:
            stored = book.set(key(first), "confirmed", "anna")
        assert reader.labels("a", first.epoch, 0, 9) == {0: stored}
        people_path(path).rename(tmp_path / "elsewhere")
        assert reader.labels("a", first.epoch, 0, 9) == {}


def test_labels_are_exported(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        published = running.publish(3)
    with LabelBook(path, wall_ns=lambda: 1_740_787_200 * 10**9) as book:
        book.set(key(published[1]), "false alarm", "anna", 'a "quoted", note')
    with JournalReader(path) as reader:
        for name in ("all.csv", "all.jsonl", "all.parquet"):
            assert export(reader.find(Selection()), tmp_path / name) == 3
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert [row["label"] for row in rows] == ["", "false alarm", ""]
    assert (rows[1]["label_by"], rows[1]["label_at"], rows[1]["label_note"]) == (
        "anna", "2025-03-01T00:00:00.000000+00:00", 'a "quoted", note',
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert [line.get("label", {}).get("by") for line in lines] == [None, "anna", None]


def test_what_cannot_be_labelled_is_told(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with pytest.raises(DataError, match="there is no journal"):
        LabelBook(path)
    with Running(PUBLISH, {"path": path}) as running:
        first = running.publish(1)[0]
    with LabelBook(path) as book:
        wrong: dict[str, Any]
        for wrong in ({"sequence": 1}, {"epoch": "ff"}, {"camera": "b"}):
            with pytest.raises(DataError, match="is not in the journal"):
                book.set(key(first)._replace(**wrong), "confirmed", "anna")
        with pytest.raises(ConfigError, match="at most 1000 bytes"):
            book.set(key(first), "confirmed", "anna", "ü" * 501)
        for name in ("", " ", "a" * 65):
            with pytest.raises(ConfigError, match="a person's name"):
                book.set(key(first), "confirmed", name)
        with pytest.raises(ConfigError, match="there is no label 'good'"):
            book.set(key(first), "good", "anna")  # type: ignore[arg-type]
        assert book.history(key(first)) == []
    assert [check_label(text) for text in ("False-Alarm", "missed_defect", " confirmed ")] == [
        "false alarm", "missed defect", "confirmed",
    ]  # fmt: skip
    with closing(sqlite3.connect(people_path(path))) as people:
        people.execute("PRAGMA user_version = 9")
    with pytest.raises(DataError, match="was not written by this version"):
        LabelBook(path)


def test_the_audit_says_who_ordered_what_and_what_came_of_it(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with AuditTrail(path, wall_ns=lambda: 5) as audit:
        number = audit.record("anna", "engineer", "deploy", {"bundle": "b2", "other_part": False}, "given")
        audit.record("bert", "operator", "pause", {}, "refused: an operator may not pause")
        audit.finish(number, "done")
    with AuditTrail(path) as audit:
        newest = audit.newest()
        assert [(one.by, one.role, one.order, one.arguments, one.outcome, one.at) for one in newest] == [
            ("bert", "operator", "pause", {}, "refused: an operator may not pause", 5),
            ("anna", "engineer", "deploy", {"bundle": "b2", "other_part": False}, "done", 5),
        ]
        assert audit.newest(before=newest[0].number) == newest[1:]
        assert audit.newest(most=1) == newest[:1]
        audit.record("anna", "engineer", "deploy", {"bundle": "x" * 10_000}, "given")
        assert list(audit.newest(most=1)[0].arguments) == ["text"]
        with pytest.raises(ConfigError, match="a person's name"):
            audit.record("", "engineer", "deploy", {}, "given")
    with pytest.raises(TaktlineError, match="cannot be written"):
        AuditTrail(tmp_path / "nowhere" / "line.journal")


def test_threads_may_share_a_book_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        first = running.publish(1)[0]
    with LabelBook(path) as book:
        thread = threading.Thread(target=book.set, args=(key(first), "confirmed", "anna"))
        thread.start()
        thread.join()
        assert len(book.history(key(first))) == 1
