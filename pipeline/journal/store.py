"""The journal: it stores every verdict before it is published, and no failing or hanging disk delays a verdict."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from engines.closing import Closing, closed_on_error
from engines.errors import ConfigError
from pipeline.config.sections import JournalSection
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.decided import Decided
from pipeline.flow.stage import Stage
from pipeline.journal.backlog import Backlog
from pipeline.journal.disk_thread import DiskThread, Errand
from pipeline.journal.entries import new_epoch, pack_entries, patience
from pipeline.journal.file import open_writer, write_entries
from pipeline.journal.indexing import Indexing
from pipeline.journal.pictures import PictureKeeper
from pipeline.journal.place import WriterLock, is_same_file, prepare_place, put_aside
from pipeline.journal.retention import Retention
from pipeline.protocol.entry import Entry

log = logging.getLogger(__name__)

_RETRY_S = 1.0
_CHUNK = 500
_OPEN_S = 5.0
_FAILURES = (sqlite3.Error, OSError, MemoryError)


class Journal(Closing):
    """Enters verdicts, one transaction per batch, and returns what to publish.

    If the disk is full, read-only or broken, or does not answer in time, verdicts are published anyway, marked
    `journaled: false`. In time means before an answer is due, and within a second. These verdicts get their own epoch:
    if the process ends before they are written, their numbers cannot be mistaken for those of other frames. Until then
    they wait in memory, up to 64 MiB, and are written as soon as the disk allows. A damaged file is put aside, and a
    new one is begun.

    One thread does all the writing. The journal comes with three stages for the line to run: one writes pictures,
    one removes what is too old, and one makes the verdicts of an earlier version searchable.

    Args:
        settings: the journal's settings.
        clock: tells the time.

    Attributes:
        path: its file.
        generation: how often its file was opened; a reader of an earlier generation should open it again.

    Raises:
        ConfigError: another line is writing it, it is not a journal of this version, or its folder cannot be created.
    """

    def __init__(self, settings: JournalSection, clock: Clock = SYSTEM_CLOCK) -> None:
        self.path, self._settings, self._clock = settings.path, settings, clock
        self.generation = 0
        self._inode: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._file_lock: WriterLock | None = None
        self._writing, self._state = threading.Lock(), threading.Lock()
        self._backlog = Backlog()
        # Already in the file, but published in another epoch because the disk was too late.
        self._late: list[Entry] = []
        self._heads: dict[str, int] = {}
        self._epoch = new_epoch()
        self._trouble: str | None = None
        self._retry_at = 0.0
        self._journaled = self._unjournaled = 0
        self._pictures, self._retention, self._indexing = self._new_stages()
        self._disk = DiskThread(self._catch_up)
        with closed_on_error(self):
            try:
                self._disk.run(self._begin, _OPEN_S)
            except (sqlite3.Error, OSError) as error:
                with self._state:
                    self._fall(error)

    def first(self, camera: str) -> int:
        """Returns the sequence with which a camera continues."""
        return self._heads.get(camera, -1) + 1

    def stages(self) -> list[Stage]:
        """Returns the stages that a line must run beside its publisher; they end after `drain`."""
        self._pictures, self._retention, self._indexing = stages = self._new_stages()
        return [*stages]

    def enter(self, batch: Sequence[Decided]) -> list[list[bytes]]:
        """Enters a batch of verdicts, and marks in each whether it was journaled in time.

        Returns:
            The message to publish for each.
        """
        with self._state:
            entries = [] if self._trouble is None else self._keep(batch)
        if not entries:
            entries = self._write_in_time(batch)
        for decided in batch:
            self._pictures.offer(decided)
        return [entry.parts for entry in entries]

    def _write_in_time(self, batch: Sequence[Decided]) -> list[Entry]:
        now = self._clock.monotonic_ns()
        entries = pack_entries(batch, self._epoch, now, journaled=True)
        try:
            self._disk.run(
                lambda errand: self._write(entries, errand), patience(batch, now), lambda: self._late.extend(entries)
            )
        except _FAILURES as error:
            with self._state:
                self._fall(error)
                return self._keep(batch)
        self._journaled += len(entries)
        return entries

    def waiting(self, camera: str) -> list[Entry]:
        """Returns the entries of a camera that are not in the file yet, oldest first."""
        with self._state:
            return self._backlog.of(camera)

    def waiting_cameras(self) -> set[str]:
        """Returns the cameras with entries that are not in the file yet."""
        with self._state:
            return self._backlog.cameras

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lends the connection for a moment, during which verdicts wait.

        Raises:
            sqlite3.OperationalError: it cannot be written at the moment.
        """
        with self._writing:
            if self._connection is None:
                raise sqlite3.OperationalError(self._trouble or "the journal is closed")
            yield self._connection

    def status(self) -> dict[str, Any]:
        """Returns its state as plain values; `trouble` says why verdicts are not journaled, or is None."""
        with self._state:
            return {
                "path": str(self.path),
                "epoch": self._epoch,
                "journaled": self._journaled,
                "unjournaled": self._unjournaled,
                "waiting": len(self._backlog),
                "lost": self._backlog.lost,
                "lag_s": self._backlog.lag_s,
                "trouble": self._trouble,
                "retention": self._retention.status(),
                "pictures": self._pictures.status(),
            }

    def drain(self) -> None:
        """Ends the journal's input: what waits is written, and the stages end. Returns at once."""
        self._retry_at = 0.0
        self._disk.wake()
        self._pictures.drain()
        self._retention.drain()
        self._indexing.drain()

    def close(self, deadline: float | None = None) -> None:
        """Writes what waits, as far as the disk allows, and closes the file.

        Raises:
            TimeoutError: the disk hangs; the thread that waits for it is left behind.
        """
        self.drain()
        try:
            self._disk.close(deadline)
        finally:
            if self._backlog:
                log.error("%d verdicts were published that are not journaled (%s)", len(self._backlog), self._trouble)
        with self._writing:
            self._disconnect()
        if self._file_lock is not None:
            self._file_lock.close()

    def _new_stages(self) -> tuple[PictureKeeper, Retention, Indexing]:
        pictures = PictureKeeper(self._settings, self.writing)
        return pictures, Retention(self._settings, self.writing, pictures), Indexing(self.writing)

    # The disk thread runs the following methods.

    def _begin(self, errand: Errand) -> None:
        """Opens the file for the first time; its contents decide how epoch and sequences continue."""
        connection = self._open()
        found = connection.execute("SELECT id FROM epochs ORDER BY number DESC LIMIT 1").fetchone()
        heads = dict(connection.execute("SELECT camera, sequence FROM heads"))
        with self._state:
            if not errand.abandoned:
                self._epoch, self._heads = self._epoch if found is None else str(found[0]), heads

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        prepare_place(self.path)
        if self._file_lock is None:
            self._file_lock = WriterLock(self.path)
        try:
            connection = open_writer(self.path, self._settings.durability)
        except sqlite3.Error as error:
            if not put_aside(self.path, error, self._inode):
                raise
            connection = open_writer(self.path, self._settings.durability)
        except ConfigError:
            self._file_lock.withdraw()
            self._file_lock = None
            raise
        with self._writing:
            self._connection, self._inode = connection, self.path.stat().st_ino
            self.generation += 1
        return connection

    def _write(self, entries: Sequence[Entry], errand: Errand) -> None:
        try:
            self._insert(entries, errand=errand)
        except _FAILURES as error:
            self._leave(error)
            raise

    def _insert(self, entries: Sequence[Entry], instead_of: Sequence[Entry] = (), errand: Errand | None = None) -> None:
        # SQLite would keep using a file that no one else can open any more.
        if not is_same_file(self.path, self._inode):
            raise sqlite3.OperationalError("its file was replaced by another")
        with self.writing() as connection:
            write_entries(
                connection, entries, self._clock.wall_ns(), again=errand is None, instead_of=instead_of,
                wanted=lambda: errand is None or not errand.abandoned,
            )  # fmt: skip

    def _catch_up(self) -> None:
        """Writes what waits in memory when it is time to try again."""
        while self._trouble is not None and time.monotonic() >= self._retry_at:
            try:
                self._open()
                self._write_waiting()
            except (*_FAILURES, ConfigError) as error:
                self._trouble = str(error) or "no memory is left"
                self._retry_at = time.monotonic() + _RETRY_S
                self._leave(error)

    def _write_waiting(self) -> None:
        with self._state:
            chunk = self._backlog.first(_CHUNK)
        if chunk or self._late:
            self._insert(chunk, self._late)
            self._late.clear()
        with self._state:
            self._backlog.remove(len(chunk))
            if self._backlog:
                return
            if self._backlog.overflowed:
                # The numbers of lost verdicts must not look like a gap.
                self._epoch, self._backlog.overflowed = new_epoch(), False
            self._trouble = None
        log.warning(
            "the journal %s can be written again; %d verdicts were published before", self.path, self._unjournaled
        )

    def _leave(self, error: Exception) -> None:
        """Closes the file, so that it or a replacement can be opened."""
        with self._writing:
            self._disconnect()
        put_aside(self.path, error, self._inode)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    # The following methods are called with `_state` held.

    def _fall(self, error: Exception) -> None:
        """Continues without the disk."""
        self._trouble = str(error) or "no memory is left"
        self._epoch = new_epoch()
        # A disk that was late may be back in a moment; one that failed gets a second.
        self._retry_at = time.monotonic() + (0.0 if isinstance(error, TimeoutError) else _RETRY_S)
        log.error("the journal %s cannot be written (%s); verdicts are published without it", self.path, self._trouble)

    def _keep(self, batch: Sequence[Decided]) -> list[Entry]:
        """Keeps a batch in memory until it can be written; what does not fit is lost to the journal."""
        entries = pack_entries(batch, self._epoch, self._clock.monotonic_ns(), journaled=False)
        overflowed = self._backlog.overflowed
        self._unjournaled += len(entries)
        if not self._backlog.add(entries) and not overflowed:
            log.error("too many verdicts wait for the journal %s; new ones are not kept", self.path)
        return entries
