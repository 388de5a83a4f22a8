"""Keeps the journal within its limits and its log short, in small steps."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.errors import TaktlineError
from pipeline.config.sections import JournalSection
from pipeline.flow.rate_limited_log import RateLimitedLog
from pipeline.flow.stage import Stage
from pipeline.journal.file import transaction
from pipeline.journal.labels import VerdictKey, forget_labels
from pipeline.journal.pictures import PictureKeeper, Writing, picture_folder, picture_path, remove_picture

log = logging.getLogger(__name__)

_TICK_S = 0.25
_STEP = 64
_STEPS = 40
_LEAST_PAUSE_S, _PAUSES_PER_STEP = 0.002, 4.0
_LOG_BYTES = 16 << 20
_WARN_EVERY_S = 60.0
_LABELS_EVERY_S = 10.0
_OLDEST = """SELECT verdicts.id, epochs.id, camera, sequence, captured_at, picture_bytes
FROM verdicts JOIN epochs ON epochs.number = verdicts.epoch {where} ORDER BY verdicts.id LIMIT ?"""
_IS_THERE = """SELECT 1 FROM verdicts
WHERE camera = ? AND epoch = (SELECT number FROM epochs WHERE id = ?) AND sequence = ?"""

_Row = tuple[int, str, str, int, int, int | None]


class Retention(Stage):
    """Removes what is too old or too much, with its labels, and copies SQLite's log into its file, while the line runs.

    If there is too much, the oldest goes first: pictures while they take more than half of the limit, otherwise
    verdicts. A step removes 64 of them and takes a few milliseconds.

    Args:
        settings: the journal's settings.
        writing: lends the journal's connection.
        pictures: counts the bytes of pictures.
    """

    restarts = 3

    def __init__(self, settings: JournalSection, writing: Writing, pictures: PictureKeeper) -> None:
        super().__init__("retention")
        self._path, self._writing, self._pictures = settings.path, writing, pictures
        self._age_ns = None if settings.keep_days is None else int(settings.keep_days * 86_400e9)
        self._most_bytes = None if settings.max_gib is None else int(settings.max_gib * 2**30)
        self._over = threading.Event()
        self._trouble: str | None = None
        self._free_bytes: int | None = None
        # At once: an earlier process may have ended between a verdict's removal and its label's.
        self._removed, self._labels_at = True, float("-inf")
        self._warnings = RateLimitedLog(log, 1, _WARN_EVERY_S)

    def work(self) -> None:
        """Checks the limits at once, then four times a second until it is drained."""
        over = False
        while not over:
            try:
                self._look_at_disk()
                self._copy_log()
                self._tidy()
                self._trouble = None
                self._forget_labels()
            except (sqlite3.Error, OSError) as error:
                self._complain(error)
            over = self._over.wait(_TICK_S)

    def status(self) -> dict[str, Any]:
        """Returns why it cannot do its work (None if it can), and the free bytes on the disk (None if unknown)."""
        return {"trouble": self._trouble, "free_bytes": self._free_bytes}

    def drain(self) -> None:
        """Lets the stage end."""
        self._over.set()

    def _complain(self, error: Exception) -> None:
        limits = [
            name for name, limit in (("keep_days", self._age_ns), ("max_gib", self._most_bytes)) if limit is not None
        ]
        kept = f"{' and '.join(limits)} cannot be kept" if limits else "its log cannot be shortened"
        self._trouble = f"retention of the journal {self._path} fails ({error}): {kept}"
        self._warnings.warning("%s", self._trouble)

    def _look_at_disk(self) -> None:
        disk = os.statvfs(self._path.parent)
        self._free_bytes = disk.f_bavail * disk.f_frsize

    def _copy_log(self) -> None:
        log_file = Path(f"{self._path}-wal")
        if not log_file.exists() or log_file.stat().st_size < _LOG_BYTES:
            return
        # On its own connection, so that verdicts can be written at the same time.
        address = f"{self._path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(address, timeout=0.0, isolation_level=None, uri=True)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        finally:
            connection.close()

    def _tidy(self) -> None:
        for _ in range(_STEPS):
            started = time.monotonic()
            if not (self._expire() or self._shrink()):
                return
            took = time.monotonic() - started
            if self._over.wait(max(_LEAST_PAUSE_S, _PAUSES_PER_STEP * took)):
                return

    def _expire(self) -> bool:
        """Removes some verdicts that are too old, and returns whether it found any."""
        if self._age_ns is None:
            return False
        oldest = time.time_ns() - self._age_ns
        rows = self._oldest()
        old = [row for row in rows if row[4] < oldest]
        # Rows are in the order of their verdicts. Nothing after a row that stays is removed, so that no gap appears.
        kept = next((row[0] for row in rows if row[4] >= oldest), None)
        return self._remove([row for row in old if kept is None or row[0] < kept])

    def _shrink(self) -> bool:
        """Removes some of the oldest if everything together takes too much room, and returns whether it did."""
        if self._most_bytes is None:
            return False
        with self._writing() as connection:
            pages, free, size = (
                int(connection.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        pictures = self._pictures.room()
        if (pages - free) * size + pictures <= self._most_bytes:
            return False
        if pictures > self._most_bytes // 2:
            return self._remove_pictures(self._oldest("WHERE picture IS NOT NULL"))
        return self._remove(self._oldest())

    def _oldest(self, where: str = "") -> list[_Row]:
        with self._writing() as connection:
            return connection.execute(_OLDEST.format(where=where), (_STEP,)).fetchall()

    def _remove(self, rows: Sequence[_Row]) -> bool:
        self._remove_pictures(rows)
        if rows:
            last = (rows[-1][0],)
            with self._writing() as connection, transaction(connection):
                late = connection.execute("SELECT total(picture_bytes) FROM verdicts WHERE id <= ?", last).fetchone()[0]
                connection.execute("DELETE FROM verdicts WHERE id <= ?", last)
            self._removed = True
            # A picture may have been written between its file's removal and its row's.
            self._pictures.removed(int(late))
            self._remove_files(rows)
        return bool(rows)

    def _remove_pictures(self, rows: Sequence[_Row]) -> bool:
        """Removes pictures. Their rows are updated first, so that no row names a missing file."""
        shown = [(row[0],) for row in rows if row[5] is not None]
        if shown:
            with self._writing() as connection, transaction(connection):
                connection.executemany("UPDATE verdicts SET picture = NULL, picture_bytes = NULL WHERE id = ?", shown)
            self._pictures.removed(sum(row[5] or 0 for row in rows))
        self._remove_files(rows)
        return bool(rows)

    def _remove_files(self, rows: Sequence[_Row]) -> None:
        root = picture_folder(self._path)
        for _, epoch, camera, sequence, _, _ in rows if root.is_dir() else ():
            remove_picture(root / picture_path(epoch, camera, sequence))

    def _forget_labels(self) -> None:
        """Removes the labels of removed verdicts. A failure is logged, and the next time tries again."""
        now = time.monotonic()
        if not self._removed or now - self._labels_at < _LABELS_EVERY_S:
            return
        self._labels_at = now
        with self._writing() as connection:
            epochs = [epoch for (epoch,) in connection.execute("SELECT id FROM epochs")]
        try:
            forget_labels(self._path, epochs, self._missing)
            self._removed = False
        except TaktlineError as error:
            self._warnings.warning("the labels of removed verdicts cannot be removed (%s)", error)

    def _missing(self, keys: Sequence[VerdictKey]) -> list[VerdictKey]:
        with self._writing() as connection:
            return [key for key in keys if connection.execute(_IS_THERE, key).fetchone() is None]
