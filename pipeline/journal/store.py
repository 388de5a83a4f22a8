"""The journal: every verdict is in it before it is published, and a disk that fails holds no verdict up."""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

from engines.closing import Closing
from engines.errors import ConfigError
from pipeline.config.sections import JournalSection
from pipeline.flow.decided import Decided
from pipeline.flow.stage import Stage
from pipeline.journal.file import WriterLock, make_folder, open_writer, put_aside, write_entries
from pipeline.journal.pictures import PictureKeeper
from pipeline.journal.retention import Retention
from pipeline.protocol.entry import Entry
from pipeline.protocol.verdict import pack

log = logging.getLogger(__name__)

_RETRY_S = 1.0
_CHUNK = 500
_BACKLOG_BYTES = 64 << 20


def new_epoch() -> str:
    """Returns an epoch that nobody had before."""
    return uuid.uuid4().hex[:16]


class Journal(Closing):
    """Enters verdicts, a batch in one transaction, and says what to publish.

    Where the disk is full, read-only or broken, verdicts go out all the same, marked `journaled: false`, in an epoch of
    their own: should the process end before they could be written, their numbers are not taken for other frames'. Until
    then they wait in memory, up to 64 MiB, and are written once the disk lets them. A file that is damaged is put aside
    and a new one begun.

    It also brings two stages with it that the line runs: one writes pictures, the other removes what is too old.

    Args:
        settings: of the line file.

    Attributes:
        path: its file.
        generation: counts how often its file was opened; a reader of an older one should open it anew.

    Raises:
        ConfigError: another line writes it, or it is of another version, or its folder cannot be made.
    """

    def __init__(self, settings: JournalSection) -> None:
        self.path, self._settings = settings.path, settings
        self.generation = self._inode = 0
        self._connection: sqlite3.Connection | None = None
        self._file_lock: WriterLock | None = None
        self._writing, self._counting = threading.Lock(), threading.Lock()
        self._backlog: deque[Entry] = deque()
        self._backlog_bytes, self._overflowed = 0, False
        self._epoch = new_epoch()
        self._trouble: str | None = None
        self._retry_at = 0.0
        self._journaled = self._unjournaled = self._unkept = 0
        make_folder(settings.path)
        self._heads: dict[str, int] = {}
        try:
            self._open()
        except (sqlite3.Error, OSError) as error:
            self._fall(error)
        self._pictures, self._retention = self._new_stages()

    def first(self, camera: str) -> int:
        """Returns the sequence with which a camera goes on."""
        return self._heads.get(camera, -1) + 1

    def stages(self) -> list[Stage]:
        """Returns the threads that a line is to run beside its publisher; they end after `drain`."""
        self._pictures, self._retention = self._new_stages()
        return [self._pictures, self._retention]

    def enter(self, batch: Sequence[Decided]) -> list[list[bytes]]:
        """Enters a batch of verdicts; each is told there whether it was.

        Returns:
            For each the message to publish.
        """
        if self._trouble is not None:
            self.tend()
        entries = self._pack(batch, self._trouble is None)
        if self._trouble is None:
            try:
                self._write(entries)
            except (sqlite3.Error, OSError) as error:
                self._fall(error)
                entries = self._pack(batch, False)
        if self._trouble is None:
            self._journaled += len(entries)
        else:
            self._keep(entries)
        for decided in batch:
            self._pictures.offer(decided)
        return [entry.parts for entry in entries]

    @property
    def restless(self) -> bool:
        """Whether `tend` should be called now and then, also while no verdicts come."""
        return self._trouble is not None

    def tend(self) -> None:
        """Tries to write what waits in memory, a part of it at a time."""
        if self._trouble is None or time.monotonic() < self._retry_at:
            return
        try:
            self._open()
            self._drain()
        except (sqlite3.Error, OSError, ConfigError) as error:
            self._trouble = str(error)
            self._retry_at = time.monotonic() + _RETRY_S
            self._leave(error)

    def waiting(self, camera: str) -> list[Entry]:
        """Returns the entries of a camera that are not in the file yet, in their order."""
        with self._counting:
            return [entry for entry in self._backlog if entry.camera == camera]

    def waiting_cameras(self) -> set[str]:
        """Returns the cameras of which entries are not in the file yet."""
        with self._counting:
            return {entry.camera for entry in self._backlog}

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lends the file to whoever keeps it, for a moment: verdicts wait meanwhile.

        Raises:
            sqlite3.OperationalError: it cannot be written at the moment.
        """
        with self._writing:
            if self._connection is None:
                raise sqlite3.OperationalError(self._trouble or "the journal is closed")
            yield self._connection

    def status(self) -> dict[str, Any]:
        """Returns how it is, in plain values; `trouble` says why verdicts are not journaled, or is None."""
        return {
            "path": str(self.path),
            "epoch": self._epoch,
            "journaled": self._journaled,
            "unjournaled": self._unjournaled,
            "waiting": len(self._backlog),
            "lost": self._unkept,
            "trouble": self._trouble,
            "lag_s": self._lag_s(),
            "retention": self._retention.status(),
            "pictures": self._pictures.status(),
        }

    def _lag_s(self) -> float:
        """How long ago the oldest verdict that waits was captured."""
        with self._counting:
            if not self._backlog:
                return 0.0
            return round(max(0.0, (time.time_ns() - self._backlog[0].captured_at) / 1e9), 3)

    def drain(self) -> None:
        """Says that no more verdicts come; its stages end when they are done."""
        self._retry_at = 0.0
        while self._trouble is not None and self._backlog:
            before = len(self._backlog)
            self.tend()
            if len(self._backlog) == before:
                log.error("%d verdicts went out that could not be journaled (%s)", before, self._trouble)
                break
        self._pictures.drain()
        self._retention.drain()

    def close(self) -> None:
        """Closes the file."""
        self._pictures.drain()
        self._retention.drain()
        with self._writing:
            self._disconnect()
        if self._file_lock is not None:
            self._file_lock.close()

    def _new_stages(self) -> tuple[PictureKeeper, Retention]:
        pictures = PictureKeeper(self._settings, self.writing)
        return pictures, Retention(self._settings, self.writing, pictures)

    def _open(self) -> None:
        """Opens the file where it is not open; what it holds decides the epoch only before the first verdict."""
        if self._connection is not None:
            return
        if self._file_lock is None:
            self._file_lock = WriterLock(self.path)
        try:
            connection = open_writer(self.path, self._settings.durability)
        except sqlite3.Error as error:
            if not put_aside(self.path, error):
                raise
            connection = open_writer(self.path, self._settings.durability)
        if self._trouble is None:
            found = connection.execute("SELECT id FROM epochs ORDER BY number DESC LIMIT 1").fetchone()
            self._epoch = self._epoch if found is None else str(found[0])
            self._heads = dict(connection.execute("SELECT camera, sequence FROM heads"))
        with self._writing:
            self._connection, self._inode = connection, self.path.stat().st_ino
            self.generation += 1

    def _write(self, entries: Sequence[Entry], again: bool = False) -> None:
        # SQLite would go on with a file that nobody can open any more.
        if self.path.stat().st_ino != self._inode:
            raise sqlite3.OperationalError("its file was replaced by another one")
        with self.writing() as connection:
            write_entries(connection, entries, time.time_ns(), again)

    def _pack(self, batch: Sequence[Decided], journaled: bool) -> list[Entry]:
        entries = []
        for decided in batch:
            latency = dataclasses.replace(decided.verdict.latency, publish=time.monotonic_ns() - decided.decided)
            verdict = decided.verdict = dataclasses.replace(
                decided.verdict, latency=latency, epoch=self._epoch, journaled=journaled
            )
            _, body, *heatmap = pack(verdict, decided.heatmap)
            entries.append(
                Entry(verdict.epoch, verdict.camera, verdict.sequence, verdict.captured_at, verdict.verdict, body,
                      heatmap[0] if heatmap else None)
            )  # fmt: skip
        return entries

    def _fall(self, error: Exception) -> None:
        """Goes on without the disk."""
        self._trouble = str(error)
        self._epoch = new_epoch()
        self._retry_at = time.monotonic() + _RETRY_S
        log.error("the journal %s cannot be written (%s); verdicts go out marked as not journaled", self.path, error)
        self._leave(error)

    def _leave(self, error: Exception) -> None:
        """Closes the file, to open it anew or another one in its place."""
        with self._writing:
            self._disconnect()
        put_aside(self.path, error)

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _keep(self, entries: list[Entry]) -> None:
        """Keeps entries in memory until they can be written; those that find no place never will be."""
        self._unjournaled += len(entries)
        size = sum(entry.size for entry in entries)
        with self._counting:
            if not self._overflowed and self._backlog_bytes + size <= _BACKLOG_BYTES:
                self._backlog.extend(entries)
                self._backlog_bytes += size
                return
        self._unkept += len(entries)
        if not self._overflowed:
            log.error("too many verdicts wait for the journal %s; those that come now are not kept", self.path)
            self._overflowed = True

    def _drain(self) -> None:
        chunk = list(islice(self._backlog, _CHUNK))
        if chunk:
            self._write(chunk, again=True)
            with self._counting:
                for entry in chunk:
                    self._backlog_bytes -= entry.size
                    self._backlog.popleft()
        if self._backlog:
            return
        if self._overflowed:
            # The numbers of those that were lost must not look like a gap.
            self._epoch, self._overflowed = new_epoch(), False
        self._trouble = None
        log.warning("the journal %s is written again; %d verdicts went out before that", self.path, self._unjournaled)
