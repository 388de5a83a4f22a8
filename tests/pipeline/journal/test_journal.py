"""The journal: what was published is in it, through restarts, full and broken disks, and its own limits."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from engines.errors import ConfigError
from engines.image import read_image
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.line_file import check_config
from pipeline.config.sections import JournalSection
from pipeline.journal.pictures import heatmap_path, picture_folder
from pipeline.journal.reader import Selection
from pipeline.journal.store import Journal, _patience
from pipeline.protocol.verdict import Verdict
from taktline.cli.status import journal_text
from tests.pipeline.conftest import FrozenDisk, SmallDisk
from tests.pipeline.parts import PICTURE, Running, decide, held, sequences, until, verify

PUBLISH = {"verdicts": "tcp://127.0.0.1:*"}


@pytest.mark.usefixtures("no_thread_left")
def test_what_is_published_is_in_the_journal_and_sequences_go_on(tmp_path: Path) -> None:
    journal = {"path": tmp_path / "new" / "line.journal"}
    published = []
    for durability in ("process", "power", "process"):
        with Running(PUBLISH, journal | {"durability": durability}, ("a", "b")) as running:
            published += running.publish(40, "a")
            published += running.publish(7, "b")
            assert held(journal["path"])[-1].verdict == published[-1]
    assert [found.verdict for found in held(journal["path"])] == published
    assert sequences(published, "a") == list(range(120))
    assert sequences(published, "b") == list(range(21))
    assert len({verdict.epoch for verdict in published}) == 1
    assert all(verdict.journaled and verdict.latency.publish > 0 for verdict in published)
    found = verify(journal["path"])
    assert (found.good, found.verdicts, found.waited) == (True, 141, 0)


def test_a_line_without_a_journal_says_so(tmp_path: Path) -> None:
    epochs = set()
    for _ in range(2):
        with Running(PUBLISH, None) as running:
            (verdict,) = running.publish(1)
            assert (verdict.sequence, verdict.journaled) == (0, False)
            epochs.add(verdict.epoch)
    assert len(epochs) == 2


def test_pictures_lie_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    for which, expected in (("none", 0), ("ng", 1), ("all", 11)):
        with Running(PUBLISH, {"path": path, "keep_images": which}) as running:
            running.publish(10)
            running.close()
            assert running.status()["pictures"]["dropped"] == 0
        assert verify(path).pictures == expected
    shown = [found for found in held(path) if found.picture is not None]
    assert [found.verdict.sequence for found in shown] == [10, *range(20, 30)]
    first = shown[0]
    assert first.picture is not None and first.heatmap is not None
    assert np.abs(read_image(first.picture).astype(int) - PICTURE).max() < 8
    np.testing.assert_array_equal(read_image(heatmap_path(first.picture))[..., 0], first.heatmap.grid)


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
    def patience(*dues_s: float | None) -> float:
        batch = [decide("a", 0) for _ in dues_s]
        for decided, due_s in zip(batch, dues_s, strict=True):
            if due_s is not None:
                decided.frame.captured = time.monotonic_ns() - 10**9
                decided.frame.deadline = time.monotonic_ns() + round(due_s * 1e9)
        return _patience(batch)

    assert patience(None) == patience(5.0) == 1.0
    assert patience(None, 0.5, 0.9) == pytest.approx(0.5, abs=0.1)
    # One that is due already has a tenth of the takt, so that a busy disk does not make it an unjournaled one.
    assert patience(0.0) == pytest.approx(0.1, abs=0.01)


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


def test_what_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    text, database, folder = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "folder"
    text.write_text("Do not lose this. " * 100)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.commit()
    folder.mkdir()
    (tmp_path / "empty").touch()
    before = {path: path.read_bytes() for path in (text, database)}
    for path, message in (
        (text, "is not a journal of Taktline and is left as it is"),
        (database, "is the database of another program"),
        (folder, "is a folder"),
        (Path("/dev/null"), "is a device"),
    ):
        with pytest.raises(ConfigError, match=message):
            Running(PUBLISH, {"path": path})
    assert {path: path.read_bytes() for path in before} == before
    names = {path.name for path in tmp_path.iterdir()}
    assert names - {"other.db.lock"} == {"notes.txt", "other.db", "folder", "empty"}
    assert not Path("/dev/null.lock").exists()
    with Running(PUBLISH, {"path": tmp_path / "empty"}) as running:
        assert all(verdict.journaled for verdict in running.publish(2))


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


def test_a_file_that_is_removed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        published = running.publish(10)
        for name in ("line.journal", "line.journal-wal", "line.journal-shm"):
            (tmp_path / name).unlink()
        published += running.publish(10)
        assert not published[-1].journaled
        until(lambda: running.status()["trouble"] is None)
        published += running.publish(10)
    assert [found.verdict for found in held(path)] == published[10:]
    assert verify(path).good


def test_what_is_too_old_goes_with_its_pictures(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_days": 2, "keep_images": "all"}) as running:
        running.publish(300, captured_at=time.time_ns() - 3 * 86_400_000_000_000)
        running.publish(100, captured_at=time.time_ns() - 86_400_000_000_000)
        until(lambda: len(held(path)) == 100)
        running.publish(10)
    assert sequences([found.verdict for found in held(path)]) == list(range(300, 410))
    assert verify(path).good
    files = {int(file.name[:9]) for file in picture_folder(path).rglob("*.jpg")}
    assert not files or min(files) >= 300
    with Running(PUBLISH, {"path": path, "keep_days": 1e-9}) as running:
        until(lambda: not held(path))
        assert running.publish(1)[0].sequence == 410


def room(path: Path) -> int:
    """The bytes that a journal and its pictures take."""
    connection = sqlite3.connect(path)
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    pictures = connection.execute("SELECT total(picture_bytes) FROM verdicts").fetchone()[0]
    connection.close()
    return int((pages - free) * size + pictures)


def test_what_is_too_much_goes_the_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    limit = 1 << 20
    with Running(PUBLISH, {"path": path, "max_gib": limit / 2**30, "keep_images": "ng"}) as running:
        for _ in range(30):
            running.publish(100, ng_every=2)
        until(lambda: room(path) <= limit)
    found = sequences([found.verdict for found in held(path)])
    assert found == list(range(found[0], 3000))
    assert found[0] > 0
    assert verify(path).good
    assert verify(path).pictures > 0
    assert limit // 4 < room(path) <= limit
    shown = {file.name[:9] for file in picture_folder(path).rglob("*.jpg")}
    assert shown == {f"{one.verdict.sequence:09d}" for one in held(path) if one.picture is not None}


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    journal = {"path": tmp_path / "line.journal"}
    with Running(PUBLISH, journal), pytest.raises(ConfigError, match="another line writes"):
        Running(PUBLISH, journal)
    with Running(PUBLISH, journal):
        pass


def test_paths_that_cannot_be_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        Running(PUBLISH, {"path": tmp_path / "file" / "line.journal"})
    with pytest.raises(ConfigError, match="is a folder"):
        Running(PUBLISH, {"path": tmp_path})
    values = {
        "model": {"bundle": "b"}, "camera": [{"name": "a", "source": "folder:x"}],
        "publish": {"replay": "tcp://127.0.0.1:5557"},
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"add a \[journal\]"):
        check_config(values, "line.toml")


def test_a_selection_finds_by_camera_time_and_verdict(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}, ("a", "b")) as running:
        running.publish(20, "a", captured_at=1_000)
        running.publish(20, "b", captured_at=2_000)

    def count(selection: Selection) -> int:
        return len(held(path, selection))

    assert count(Selection()) == 40
    assert count(Selection(cameras=("b",))) == 20
    assert count(Selection(since=1_001)) == 20
    assert count(Selection(since=1_000, until=2_000)) == 20
    assert count(Selection(verdicts=("ng",))) == 4
    assert count(Selection(verdicts=("ok", "ng"), cameras=("a",), until=1_000)) == 0
