"""Opens a journal to read it, while a line may be writing to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.closing import Closing, closed_on_error
from engines.errors import DataError
from pipeline.journal.facts import unindexed
from pipeline.journal.file import READABLE_VERSIONS, SCHEMA_VERSION, open_reader, schema_version
from pipeline.journal.people import PeopleView
from pipeline.journal.place import is_damage


class ReadOnlyJournal(Closing):
    """A journal on its own read-only connection, with the labels beside it. May be used by one thread at a time.

    Methods of its children raise `DataError` if the file is damaged or cannot be read at the moment.

    Attributes:
        path: its file.
        skipped: number of verdicts that were skipped because they are damaged or have another wire version.

    Raises:
        DataError: there is no file, or it is not a journal that this version can read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        self._open()

    @property
    def unindexed(self) -> int | None:
        """Up to which row verdicts cannot be searched yet; None if all can."""
        with self._reading():
            if schema_version(self._connection) != SCHEMA_VERSION:
                found = self._connection.execute("SELECT max(id) FROM verdicts").fetchone()[0]
                return int(found or 0)
            return unindexed(self._connection)

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _follow(self) -> None:
        """Opens the file that is there now, if the line has put a damaged journal aside and begun another."""
        if self._inode != _inode(self.path):
            self.close()
            self._open()

    def _open(self) -> None:
        path = self.path
        self._inode = _inode(path)
        if self._inode is None:
            raise DataError(f"there is no journal {path}; give the path from [journal] in the line file")
        try:
            self._connection = open_reader(path)
        except sqlite3.Error as error:
            raise DataError(f"{path} cannot be opened ({error})") from error
        with closed_on_error(self):
            self._check_version()
            self._people = PeopleView(self._connection, path)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            hint = "`taktline journal verify` shows what is wrong" if is_damage(error) else "try again"
            raise DataError(f"the journal {self.path} cannot be read ({error}); {hint}") from error

    def _check_version(self) -> None:
        try:
            version = schema_version(self._connection)
        except sqlite3.Error as error:
            raise DataError(f"{self.path} cannot be read as a journal ({error})") from error
        if version == 0:
            raise DataError(f"{self.path} is not a journal; give the path from [journal] in the line file")
        if version not in READABLE_VERSIONS:
            raise DataError(
                f"{self.path} is a journal of version {version} and this Taktline reads version {SCHEMA_VERSION}; use "
                "the Taktline that wrote it"
            )


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.is_file() else None
