"""The journal's file: its tables, and how it is opened by its one writer and by its readers."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from engines.closing import Closing
from engines.errors import ConfigError
from pipeline.protocol.entry import Entry

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY_S = 0.1
_WAL_KEPT_BYTES = 32 << 20
_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
# A picture is referred to only once it lies there, so its columns are filled later than the others.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE epochs (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, began_at INTEGER NOT NULL);
CREATE TABLE heads (camera TEXT PRIMARY KEY, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL);
CREATE TABLE verdicts (
    id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL REFERENCES epochs, camera TEXT NOT NULL, sequence INTEGER NOT NULL,
    captured_at INTEGER NOT NULL, verdict TEXT NOT NULL, body BLOB NOT NULL, heatmap BLOB, picture TEXT,
    picture_bytes INTEGER);
CREATE UNIQUE INDEX by_sequence ON verdicts (camera, epoch, sequence);
CREATE INDEX by_time ON verdicts (captured_at);
CREATE INDEX by_verdict ON verdicts (verdict, captured_at);
CREATE INDEX with_picture ON verdicts (id, picture_bytes) WHERE picture IS NOT NULL;
PRAGMA user_version = {version};
COMMIT;
"""
_INSERT = "INSERT {conflict} INTO verdicts (epoch, camera, sequence, captured_at, verdict, body, heatmap) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: E501
_HEAD = """INSERT INTO heads VALUES (?, ?, ?)
ON CONFLICT (camera) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence"""

Durability = Literal["process", "power"]


class WriterLock(Closing):
    """Keeps a second line from writing into the same journal.

    Raises:
        ConfigError: another process writes it.
        OSError: the disk does not let it be made.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise ConfigError(f"another line writes the journal {path}; give this one a journal of its own") from error

    def close(self) -> None:
        """Lets another process write."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


def make_folder(path: Path) -> None:
    """Makes the folder of a journal.

    Raises:
        ConfigError: it cannot be made, or the journal's path is a folder itself.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the folder {path.parent} of the journal cannot be made: {error.strerror or error}; give another path"
        ) from error
    if path.is_dir():
        raise ConfigError(f"the journal {path} is a folder; give the path of a file")


def put_aside(path: Path, error: Exception) -> bool:
    """Renames a journal where the error says that it is damaged, and tells whether it did."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
        return False
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    log.error("the journal %s is damaged (%s); it is put aside as %s and a new one begun", path, error, aside)
    try:
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    except OSError as failure:
        log.error("%s cannot be put aside: %s", path, failure)
        return False
    return True


def open_writer(path: Path, durability: Durability) -> sqlite3.Connection:
    """Opens the journal for writing and makes it where there is none.

    Raises:
        sqlite3.Error: it cannot be written, or is none.
        ConfigError: it is of another version.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        # Another thread copies the log into the file, so that no verdict waits for it.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        version = schema_version(connection)
        if version == 0:
            connection.executescript(_SCHEMA.format(version=SCHEMA_VERSION))
        elif version != SCHEMA_VERSION:
            raise ConfigError(
                f"the journal {path} is of version {version} and this Taktline writes version {SCHEMA_VERSION}; "
                "give a new path"
            )
    except BaseException:
        with suppress(sqlite3.Error):
            connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens the journal for reading, also while a line writes it.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", timeout=5, isolation_level=None, check_same_thread=False, uri=True
    )


def schema_version(connection: sqlite3.Connection) -> int:
    """Returns which version of the tables a file has; 0 for none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def write_entries(connection: sqlite3.Connection, entries: Sequence[Entry], now: int, again: bool = False) -> None:
    """Writes entries in one transaction.

    Args:
        connection: of the writer.
        entries: in the order in which they were published.
        now: wall clock, nanoseconds since 1970 (UTC): when an epoch that is new begins.
        again: whether some may be there already.
    """
    with transaction(connection):
        numbers = {epoch: _number(connection, epoch, now) for epoch in dict.fromkeys(entry.epoch for entry in entries)}
        connection.executemany(
            _INSERT.format(conflict="OR IGNORE" if again else ""),
            [(numbers[entry.epoch], entry.camera, entry.sequence, entry.captured_at, entry.verdict, entry.body,
              entry.heatmap) for entry in entries],
        )  # fmt: skip
        heads = {entry.camera: (entry.camera, numbers[entry.epoch], entry.sequence) for entry in entries}
        connection.executemany(_HEAD, heads.values())


def _number(connection: sqlite3.Connection, epoch: str, now: int) -> int:
    found = connection.execute("SELECT number FROM epochs WHERE id = ?", (epoch,)).fetchone()
    if found is not None:
        return int(found[0])
    number = connection.execute("INSERT INTO epochs (id, began_at) VALUES (?, ?)", (epoch, now)).lastrowid
    assert number is not None
    return number
