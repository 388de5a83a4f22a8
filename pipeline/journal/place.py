"""Where a journal lies: what it may replace, and that only one line writes it."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path

from engines.closing import Closing
from engines.errors import ConfigError
from engines.files import make_folder

log = logging.getLogger(__name__)

APPLICATION_ID = 0x54414B54  # "TAKT"
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100


class WriterLock(Closing):
    """Keeps a second line from writing the same journal.

    Raises:
        ConfigError: another process is writing it.
        OSError: the lock file cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._path, flags = Path(f"{path}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            self._handle, self._made = os.open(self._path, flags | os.O_EXCL, 0o644), True
        except FileExistsError:
            self._handle, self._made = os.open(self._path, flags, 0o644), False
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._handle)
            raise ConfigError(f"another line is writing the journal {path}; give this line its own journal") from error

    def withdraw(self) -> None:
        """Lets another process write, and leaves no file beside what turned out to be somebody else's database."""
        if self._made and self._handle >= 0:
            self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Lets another process write. The file stays: one that waits for it and one that comes must find the same."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1


def prepare_place(path: Path) -> None:
    """Creates the folder of a journal, and refuses a path that holds something else.

    Raises:
        ConfigError: the folder cannot be created, the path is not a file, or Taktline did not write the file.
        OSError: it cannot be read.
    """
    make_folder(path.parent, "give another path", what="the journal's folder")
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"the journal {path} is a folder; give the path of a file")
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"the journal {path} is a device or a socket; give the path of a file")
    if found.st_size and not _may_be_journal(_header(path)):
        raise ConfigError(f"{path} is not a Taktline journal and is left unchanged; give another path under [journal]")


def put_aside(path: Path, error: Exception, inode: int | None) -> bool:
    """Renames a journal if the error says that it is damaged.

    Args:
        path: the journal.
        error: SQLite's error.
        inode: inode of the journal that this process has opened; None if it has not opened one yet.

    Returns:
        Whether it was renamed.
    """
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
        return False
    try:
        # Another program's file is not ours to rename.
        if not is_same_file(path, inode) and not _is_journal(_header(path)):
            return False
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        log.error("the journal %s is damaged (%s); it is put aside as %s, and a new one is begun", path, error, aside)
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    except OSError as failure:
        log.error("%s cannot be put aside: %s", path, failure)
        return False
    return True


def is_same_file(path: Path, inode: int | None) -> bool:
    """Returns whether a path still leads to the file that was opened.

    Raises:
        OSError: there is no file.
    """
    return inode is not None and path.stat().st_ino == inode


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Returns whether SQLite found the file damaged, rather than busy or unreachable."""
    if isinstance(error, sqlite3.ProgrammingError):
        return False
    # Python itself finds text that is not UTF-8, and gives no error code.
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGED


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER_BYTES)


def _numbers(header: bytes) -> tuple[int, int]:
    """Returns the version of the tables and the id of their program, from SQLite's header."""
    return int.from_bytes(header[60:64]), int.from_bytes(header[68:72])


def _is_journal(header: bytes) -> bool:
    # Journals of the first Taktline have a version but no application id.
    version, application = _numbers(header)
    return header.startswith(_MAGIC) and (application == APPLICATION_ID or (version == 1 and not application))


def _may_be_journal(header: bytes) -> bool:
    # If the process died early, the tables are in the log beside it, and the header is empty.
    return _is_journal(header) or (header.startswith(_MAGIC) and _numbers(header) == (0, 0))
