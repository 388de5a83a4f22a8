"""What people say about verdicts and order a line to do: a file of its own beside the journal.

It is not part of the journal's own file for three reasons. SQLite has one writer per file: a program that hangs in the
middle of a label would stop a line's verdicts from being journaled. A damaged journal is put aside, and labels, which
nobody can make again, must survive that. And only the line may write the journal, but people label while it is down.

So any number of programs write here, in short transactions, and no verdict ever waits for them. Readers of the journal
attach the file read-only. A label names its verdict by camera, epoch and sequence, which stay unique when a new journal
begins.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from engines.closing import Closing
from engines.errors import ConfigError, DataError, TaktlineError
from pipeline.journal.place import is_damage
from pipeline.protocol.label import MOST_NAME_CHARACTERS
from pipeline.protocol.topics import safe_text

log = logging.getLogger(__name__)

PEOPLE_VERSION = 1
_APPLICATION_ID = 0x54414B50  # "TAKP"
_BUSY_S, _AGAIN_S = 5.0, 0.01
_TABLES = """
CREATE TABLE IF NOT EXISTS {schema}labels (
    id INTEGER PRIMARY KEY, camera TEXT NOT NULL, epoch TEXT NOT NULL, sequence INTEGER NOT NULL,
    captured_at INTEGER NOT NULL, label TEXT, by TEXT NOT NULL, at INTEGER NOT NULL, note TEXT NOT NULL,
    current INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS {schema}by_verdict ON labels (camera, epoch, sequence);
CREATE UNIQUE INDEX IF NOT EXISTS {schema}current_label ON labels (camera, epoch, sequence) WHERE current;
CREATE INDEX IF NOT EXISTS {schema}by_label ON labels (captured_at, label) WHERE current;
CREATE TABLE IF NOT EXISTS {schema}orders (
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, by TEXT NOT NULL, role TEXT NOT NULL, name TEXT NOT NULL,
    arguments TEXT NOT NULL, outcome TEXT NOT NULL);
"""


def people_path(journal: Path) -> Path:
    """Returns the path of the file beside a journal."""
    return journal.with_name(f"{journal.name}.people")


def checked_name(by: str) -> str:
    """Returns a person's name as it can be stored.

    Raises:
        ConfigError: it is empty or too long.
    """
    name = safe_text(by).strip()
    if not 0 < len(name) <= MOST_NAME_CHARACTERS:
        raise ConfigError(f"a person's name has 1 to {MOST_NAME_CHARACTERS} characters")
    return name


class PeopleFile(Closing):
    """The file, opened for writing; it is created if there is none. May be used from any thread, by one at a time.

    Args:
        journal: the journal it lies beside.
        busy_s: how long to wait for another program that is writing it.

    Attributes:
        connection: the open file.

    Raises:
        DataError: it is damaged, of another version, or another program's.
        TaktlineError: it cannot be written.
    """

    def __init__(self, journal: Path, busy_s: float = _BUSY_S) -> None:
        self.path = people_path(journal)
        try:
            self.connection = sqlite3.connect(self.path, timeout=busy_s, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self.failure(error) from error
        try:
            until = time.monotonic() + busy_s
            while not self._is_there():
                try:
                    self._create()
                except sqlite3.OperationalError:
                    self.connection.rollback()
                    # Where two create it, SQLite lets one of them fail at once: waiting, both would wait for ever.
                    if time.monotonic() > until:
                        raise
                    time.sleep(_AGAIN_S)
            # A label is rare and cannot be made again, so each is flushed to the disk.
            self.connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            self.close()
            raise self.failure(error) from error
        except BaseException:
            self.close()
            raise

    def failure(self, error: sqlite3.Error) -> TaktlineError:
        """Returns an error of SQLite as a sentence."""
        if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
            return DataError(f"the file {self.path} is damaged ({error}); move it aside, and a new one is begun")
        return TaktlineError(f"the file {self.path} cannot be written ({error}); check its disk and its permissions")

    def close(self) -> None:
        """Closes the file."""
        with suppress(sqlite3.Error):
            self.connection.close()

    def _is_there(self) -> bool:
        # Both are of the same moment: another program may be creating the file.
        self.connection.execute("BEGIN")
        version = int(self.connection.execute("PRAGMA user_version").fetchone()[0])
        empty = self.connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
        self.connection.execute("COMMIT")
        if version != PEOPLE_VERSION and not (version == 0 and empty):
            raise DataError(f"{self.path} was not written by this version of Taktline; move it to another folder")
        return version == PEOPLE_VERSION

    def _create(self) -> None:
        self.connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self.connection.execute("PRAGMA journal_mode = WAL")
        # Two programs may create it at once: each statement does nothing where the other came first.
        tables = _TABLES.format(schema="")
        self.connection.executescript(f"BEGIN IMMEDIATE;{tables}PRAGMA user_version = {PEOPLE_VERSION};COMMIT;")


class PeopleView:
    """Attaches the file to a read-only connection of its journal, as the schema `people`.

    While there is no file, or none that can be read, empty tables take its place: a journal can be read without it.

    Args:
        connection: a connection of the journal, opened with a URI.
        journal: the journal.

    Attributes:
        trouble: why the file cannot be read; None if it can, or if there is none.
    """

    def __init__(self, connection: sqlite3.Connection, journal: Path) -> None:
        self._connection, self._path = connection, people_path(journal)
        self._attached: int | None = None
        self.trouble: str | None = None
        self._attach(None)

    def refresh(self) -> None:
        """Attaches the file if it has appeared or was replaced; call it outside of a transaction."""
        try:
            inode: int | None = self._path.stat().st_ino
        except OSError:
            inode = None
        if inode != self._attached:
            self._connection.execute("DETACH people")
            self._attach(inode)

    def _attach(self, inode: int | None) -> None:
        trouble, before = (None if inode is None else self._attach_file()), self.trouble
        # One that cannot be read is tried again: another program may be creating it.
        self._attached, self.trouble = None if trouble else inode, trouble
        if trouble is not None and trouble != before:
            log.warning("%s", trouble)
        if self._attached is not None:
            return
        self._connection.execute("ATTACH ':memory:' AS people")
        for statement in _TABLES.format(schema="people.").split(";"):
            self._connection.execute(statement)

    def _attach_file(self) -> str | None:
        """Attaches the file, or returns why it cannot be read."""
        attached = False
        try:
            self._connection.execute("ATTACH ? AS people", (f"{self._path.absolute().as_uri()}?mode=ro",))
            attached = True
            version = int(self._connection.execute("PRAGMA people.user_version").fetchone()[0])
            if version == PEOPLE_VERSION:
                self._connection.execute("SELECT count(*) FROM people.labels").fetchone()
                return None
            trouble = f"{self._path} has version {version} and this Taktline reads version {PEOPLE_VERSION}"
        except sqlite3.Error as error:
            trouble = f"the labels in {self._path} cannot be read ({error})"
        if attached:
            self._connection.execute("DETACH people")
        return trouble
