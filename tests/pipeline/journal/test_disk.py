"""A disk that is full, locked, frozen or damaged: no verdict waits for it, none is lost or there twice."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from engines.errors import TaktlineError
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.sections import JournalSection
from pipeline.journal.entries import patience
from pipeline.journal.export import export
from pipeline.journal.pictures import picture_folder
from pipeline.journal.reader import JournalReader
from pipeline.journal.selection import Selection
from pipeline.journal.store import Journal
from pipeline.protocol.verdict import Verdict
from taktline.cli.status import journal_text
from tests.pipeline.conftest import FrozenDisk, SmallDisk
from tests.pipeline.parts import Running, decide, held, sequences, until, verify

PUBLISH = {"verdicts": "tcp://127.0.0.1:*"}


@pytest.mark.usefixtures("no_thread_left")
def test_a_full_disk_holds_no_verdict_up_and_all_are_written_once_it_is_free(disk: SmallDisk) -> None:
    path = disk.folder / "line.journal"
    with (
        Running(PUBLISH, {"path": path, "keep_images": "all"}) as running,
        VerdictSubscriber(running.socket.address) as subscriber,
    ):
        running.socket.await_subscribers(1, 30, threading.Event())
        before = running.publish(20)
        until(lambda: sum(running.status()["pictures"].values()) == 20)
        disk.fill()
        during = [verdict for _ in range(8) for verdict in running.publish(50)]
        status = running.status()
        assert status["trouble"] is not None
        late = [verdict for verdict in during if not verdict.journaled]
        assert status["unjournaled"] == status["waiting"] == len(late) >= 300
        assert status["pictures"]["dropped"] >= len(late)
        console = Console(width=400)
        with console.capture() as capture:
            console.print(*journal_text(status))
        assert f"{len(late)} verdicts were published before they could be journaled" in capture.get()
        assert status["trouble"] in capture.get()
        disk.free()
        until(lambda: running.status()["trouble"] is None)
        after = running.publish(20)
        assert all(verdict.journaled for verdict in after)
        published = before + during + after
        assert [subscriber.receive(30)[0] for _ in published] == published
    assert sequences(published) == list(range(440))
    assert [found.verdict for found in held(path)] == published
    found = verify(path)
    assert (found.good, found.waited, found.epochs) == (True, len(late), 2)


@pytest.mark.parametrize("earlier", [0, 20])
def test_a_line_starts_on_a_full_disk_as_well(disk: SmallDisk, earlier: int) -> None:
    path = disk.folder / "line.journal"
    journal = {"path": path, "keep_images": "none"}
    published = []
    if earlier:
        with Running(PUBLISH, journal) as running:
            published += running.publish(earlier)
    disk.fill()
    with Running(PUBLISH, journal) as running:
        for _ in range(8):
            published += running.publish(50)
        assert running.status()["unjournaled"] >= 300
        disk.free()
        until(lambda: running.status()["trouble"] is None)
        published += running.publish(20)
    with Running(PUBLISH, journal) as running:
        published += running.publish(20)
    assert all(verdict.journaled for verdict in published[-40:])
    assert [found.verdict for found in held(path)] == published
    assert len({(verdict.epoch, verdict.sequence) for verdict in published}) == len(published)
    assert verify(path).good


def test_a_process_that_dies_on_a_full_disk_gives_no_number_twice(disk: SmallDisk) -> None:
    path = disk.folder / "line.journal"
    seen = []
    with Running(PUBLISH, {"path": path, "keep_images": "none"}) as running:
        seen += running.publish(10)
        disk.fill()
        for _ in range(8):
            seen += running.publish(50)
        # It ends while the disk is still full, so what waits is lost with it.
        late = sum(not verdict.journaled for verdict in seen)
        assert late >= 300
    disk.free()
    with Running(PUBLISH, {"path": path, "keep_images": "none"}) as running:
        seen += running.publish(100)
    assert len({(verdict.epoch, verdict.sequence) for verdict in seen}) == len(seen)
    assert sequences([found.verdict for found in held(path)]) == list(range(len(seen) - late))
    assert verify(path).good


def test_more_than_memory_holds_leaves_no_gap_behind(disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.journal.backlog._MOST_BYTES", 20_000)
    path = disk.folder / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_images": "none"}) as running:
        running.publish(5)
        disk.fill()
        for _ in range(8):
            running.publish(50)
        lost = running.status()["lost"]
        assert lost > 200
        disk.free()
        until(lambda: running.status()["trouble"] is None)
        last = running.publish(5)
    found = verify(path)
    assert (found.good, found.verdicts) == (True, 410 - lost)
    assert held(path)[-1].verdict == last[-1]


def hold_up(journal: Journal, sequence: int, takt_s: float = 0.2) -> Verdict:
    """Enters a verdict that is due soon, and returns what is published of it."""
    decided = decide("a", sequence)
    decided.frame.deadline = decided.frame.captured + round(takt_s * 1e9)
    journal.enter([decided])
    return decided.verdict


def check_that_nothing_was_lost_or_doubled(path: Path, published: list[Verdict]) -> None:
    assert [found.verdict for found in held(path)] == published
    assert sequences(published) == list(range(len(published)))
    found = verify(path)
    assert (found.good, found.epochs) == (True, 2)


def test_a_file_that_another_program_locks_holds_no_verdict_up(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Journal(JournalSection(path=path)) as journal, closing(sqlite3.connect(path)) as other:
        published = [hold_up(journal, 0, 60)]
        other.execute("BEGIN IMMEDIATE")
        published += [hold_up(journal, sequence) for sequence in range(1, 20)]
        # The lock is still held: nobody has waited for it.
        other.execute("ROLLBACK")
        until(lambda: journal.status()["trouble"] is None)
        published.append(hold_up(journal, 20, 60))
    assert [verdict.journaled for verdict in published] == [True, *[False] * 19, True]
    check_that_nothing_was_lost_or_doubled(path, published)


def test_a_disk_that_hangs_holds_no_verdict_up_and_what_it_took_too_late_is_not_there_twice(
    frozen: FrozenDisk,
) -> None:
    """The transaction hangs while it is committed: once the disk answers again, its rows are in the file."""
    path = frozen.folder / "line.journal"
    journal = Journal(JournalSection(path=path))
    published = [hold_up(journal, 0, 60)]
    frozen.freeze()
    published += [hold_up(journal, sequence) for sequence in range(1, 20)]
    assert "has not answered" in str(journal.status()["trouble"])
    assert [entry.sequence for entry in journal.waiting("a")] == list(range(1, 20))
    with pytest.raises(TimeoutError):
        journal.close(0.1)
    frozen.thaw()
    journal.close()
    with Journal(JournalSection(path=path)) as journal:
        published.append(hold_up(journal, journal.first("a"), 60))
    assert [verdict.journaled for verdict in published] == [True, *[False] * 19, True]
    check_that_nothing_was_lost_or_doubled(path, published)


def test_the_disk_has_until_the_first_answer_is_due() -> None:
    def seconds(*dues_s: float | None) -> float:
        batch = [decide("a", 0) for _ in dues_s]
        for decided, due_s in zip(batch, dues_s, strict=True):
            if due_s is not None:
                decided.frame.captured = time.monotonic_ns() - 10**9
                decided.frame.deadline = time.monotonic_ns() + round(due_s * 1e9)
        return patience(batch, time.monotonic_ns())

    assert seconds(None) == seconds(5.0) == 1.0
    assert seconds(None, 0.5, 0.9) == pytest.approx(0.5, abs=0.1)
    # One that is due already has a tenth of the takt, so that a busy disk does not make it an unjournaled one.
    assert seconds(0.0) == pytest.approx(0.1, abs=0.01)


def test_a_picture_that_finds_no_room_leaves_nothing_behind(disk: SmallDisk) -> None:
    path = disk.folder / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_images": "all"}) as running:
        running.publish(1)
        until(lambda: running.status()["pictures"]["kept"] == 1)
        assert running.journal is not None
        keeper = running.journal._pictures
        disk.fill()
        with pytest.raises(OSError, match=r"No space|too large"):
            keeper._put(picture_folder(path) / "x.jpg", bytes(1 << 20))
        assert {file.name for file in picture_folder(path).rglob("*") if file.is_file()} == {
            "000000000.jpg", "000000000.heatmap.png",
        }  # fmt: skip
        disk.free()


def test_an_export_that_finds_no_room_leaves_nothing_behind(disk: SmallDisk, tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_images": "all"}) as running:
        running.publish(10)
    disk.fill()
    for name in ("all.csv", "all.jsonl", "all.parquet", "all.zip"):
        with JournalReader(path) as reader, pytest.raises(TaktlineError, match="cannot be written"):
            export(itertools.islice(itertools.cycle(reader.find(Selection())), 2000), disk.folder / name)
    assert [path.name for path in disk.folder.iterdir()] == ["filler"] * disk.mounted
