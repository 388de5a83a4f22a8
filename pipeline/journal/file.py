"""The journal's file: its tables, and how its single writer and its readers open it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from engines.errors import ConfigError
from pipeline.journal.facts import SCHEMA as FACTS
from pipeline.journal.facts import UPGRADE, enter_facts
from pipeline.journal.place import APPLICATION_ID
from pipeline.protocol.entry import Entry

SCHEMA_VERSION = 2
# Version 1 has no facts to search by.
READABLE_VERSIONS = (1, SCHEMA_VERSION)
_BUSY_S = 2.0
_WAL_KEPT_BYTES = 32 << 20
_SYNCHRONOUS = {"process": "NORMAL", "power": "FULL"}
# A row names its picture only once the picture's file exists, so those columns are filled in later.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE epochs (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, began_at INTEGER NOT NULL);
CREATE TABLE heads (camera TEXT PRIMARY KEY, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL);
CREATE TABLE verdicts (
    id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL REFERENCES epochs, camera TEXT NOT NULL, sequence INTEGER NOT NULL,
    captured_at INTEGER NOT NULL, verdict TEXT NOT NULL, body BLOB NOT NULL, heatmap BLOB, picture TEXT,
    picture_bytes INTEGER);
CREATE UNIQUE INDEX by_sequence ON verdicts (camera, epoch, sequence);
CREATE INDEX with_picture ON verdicts (id, picture_bytes) WHERE picture IS NOT NULL;
{facts}
PRAGMA user_version = {version};
COMMIT;
"""
_UPGRADE = "BEGIN IMMEDIATE;{upgrade}PRAGMA application_id = {id};PRAGMA user_version = {version};COMMIT;"
_INSERT = "INSERT {conflict} INTO verdicts (epoch, camera, sequence, captured_at, verdict, body, heatmap) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: E501
_HEAD = """INSERT INTO heads VALUES (?, ?, ?)
ON CONFLICT (camera) DO UPDATE SET epoch = excluded.epoch, sequence = excluded.sequence"""

_DELETE = """DELETE FROM verdicts
WHERE epoch = (SELECT number FROM epochs WHERE id = ?) AND camera = ? AND sequence = ?"""

Durability = Literal["process", "power"]


class Abandoned(Exception):
    """What was about to be written is no longer wanted."""


def open_writer(path: Path, durability: Durability) -> sqlite3.Connection:
    """Opens the journal for writing, creates it if there is none, and upgrades one of an earlier version.

    Raises:
        sqlite3.Error: it cannot be written, or is damaged.
        ConfigError: it has another version, or belongs to another program.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        version = schema_version(connection)
        if version == 0:
            if connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None:
                raise ConfigError(f"{path} is another program's database; give another path under [journal]")
            # Before there is a log, so that the id is in the file itself and survives damage elsewhere in it.
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
        # Another thread copies the log into the file, so that no verdict has to wait for that.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        if version == 0:
            connection.executescript(_SCHEMA.format(version=SCHEMA_VERSION, facts=FACTS))
        elif version == 1:
            connection.executescript(_UPGRADE.format(upgrade=UPGRADE, id=APPLICATION_ID, version=SCHEMA_VERSION))
        elif version != SCHEMA_VERSION:
            raise ConfigError(
                f"the journal {path} has version {version} and this Taktline writes version {SCHEMA_VERSION}; "
                "give a new path under [journal]"
            )
    except BaseException:
        with suppress(sqlite3.Error):
            connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens the journal for reading, while a line may be writing to it.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", timeout=5, isolation_level=None, check_same_thread=False, uri=True
    )


def schema_version(connection: sqlite3.Connection) -> int:
    """Returns the version of a file's tables; 0 for none."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commits everything the block did, or nothing if it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def write_entries(
    connection: sqlite3.Connection,
    entries: Sequence[Entry],
    now: int,
    *,
    again: bool = False,
    instead_of: Sequence[Entry] = (),
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Writes entries in one transaction.

    Args:
        connection: the writer's connection.
        entries: in the order they were published.
        now: wall clock, nanoseconds since 1970 (UTC): the beginning of a new epoch.
        again: whether some may already be there.
        instead_of: entries to remove, if they are there.
        wanted: called before the transaction is committed.

    Raises:
        Abandoned: they are no longer wanted; nothing was written.
    """
    with transaction(connection):
        if instead_of:
            connection.executemany(_DELETE, [(entry.epoch, entry.camera, entry.sequence) for entry in instead_of])
        numbers = {epoch: _number(connection, epoch, now) for epoch in dict.fromkeys(entry.epoch for entry in entries)}
        connection.executemany(
            _INSERT.format(conflict="OR IGNORE" if again else ""),
            [(numbers[entry.epoch], entry.camera, entry.sequence, entry.captured_at, entry.verdict, entry.body,
              entry.heatmap) for entry in entries],
        )  # fmt: skip
        enter_facts(connection, entries, numbers)
        heads = {entry.camera: (entry.camera, numbers[entry.epoch], entry.sequence) for entry in entries}
        connection.executemany(_HEAD, heads.values())
        if not wanted():
            raise Abandoned


def _number(connection: sqlite3.Connection, epoch: str, now: int) -> int:
    found = connection.execute("SELECT number FROM epochs WHERE id = ?", (epoch,)).fetchone()
    if found is not None:
        return int(found[0])
    number = connection.execute("INSERT INTO epochs (id, began_at) VALUES (?, ?)", (epoch, now)).lastrowid
    assert number is not None
    return number
