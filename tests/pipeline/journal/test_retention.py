"""Retention keeps a journal within its limits, and says so where it cannot."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.sections import JournalSection
from pipeline.journal import pictures
from pipeline.journal.file import open_reader
from pipeline.journal.pictures import PictureKeeper, picture_folder
from pipeline.journal.retention import Retention
from pipeline.journal.store import Journal
from taktline.cli.status import journal_text
from tests.pipeline.parts import Running, held, sequences, until, verify

PUBLISH = {"verdicts": "tcp://127.0.0.1:*"}


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


def journal_status(path: Path) -> dict[str, Any]:
    with Journal(JournalSection(path=path)) as journal:
        return journal.status()


def test_retention_that_fails_says_so_in_its_status_and_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        running.publish(100)
    settings = JournalSection(path=path, keep_days=1e-9, max_gib=1e-9)
    with closing(open_reader(path)) as read_only:

        @contextmanager
        def writing() -> Iterator[sqlite3.Connection]:
            yield read_only

        retention = Retention(settings, writing, PictureKeeper(settings, writing))
        failures: list[str] = []
        retention.start(lambda name, error: failures.append(name))
        until(lambda: retention.status()["trouble"] is not None)
        time.sleep(0.6)
        retention.drain()
        assert retention.join(10)
    assert not failures
    trouble = retention.status()["trouble"]
    assert "readonly" in trouble and "keep_days and max_gib cannot be kept" in trouble
    assert [record.getMessage() for record in caplog.records if "retention" in record.getMessage()] == [trouble]
    assert retention.status()["free_bytes"] > 0
    (text,) = journal_text(journal_status(path) | {"retention": retention.status()})[1:]
    assert text.plain == trouble


def test_the_sum_over_all_pictures_keeps_no_verdict_waiting_and_misses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that come while it is made are counted once. It is made in slices of three."""
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_images": "all"}) as running:
        running.publish(10)
    monkeypatch.setattr("pipeline.journal.pictures._SLICE", 3)
    with Running(PUBLISH, {"path": path, "keep_images": "all", "max_gib": 1}) as running:
        assert running.journal is not None
        keeper, summed = running.journal._pictures, pictures._sum_pictures

        def sum_while_pictures_come(connection: sqlite3.Connection) -> int:
            assert all(verdict.journaled for verdict in running.publish(5))
            until(lambda: sum(running.status()["pictures"].values()) >= 5)
            return summed(connection)

        monkeypatch.setattr(pictures, "_sum_pictures", sum_while_pictures_come)
        keeper._summed = None
        found = keeper.room()
        with closing(open_reader(path)) as reader:
            stored = reader.execute("SELECT total(picture_bytes) FROM verdicts").fetchone()[0]
        assert found == keeper.room() == stored > 0
