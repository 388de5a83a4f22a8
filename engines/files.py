"""Writes files that appear whole or not at all, and creates folders."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import io
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engines.errors import ConfigError, DataError, TaktlineError

log = logging.getLogger(__name__)

# From Linux's fcntl.h and fs.h.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Yields an open temporary file beside `path`, and renames it to `path` if the block succeeds.

    File and folder are flushed to the disk, so after a power failure either the old content or the new is there. If
    anything fails, even on a full disk, the temporary file is removed and `path` is unchanged.

    Args:
        path: the file to write or replace; its folder exists.
        mode: permissions of the file. Until it is renamed, only its owner can read it.

    Raises:
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:64]}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def write_atomic(path: Path, data: bytes | str, *, mode: int = 0o644) -> None:
    """Writes a file in one step; see `replacing`. Text is stored as UTF-8.

    Raises:
        OSError: it cannot be written; the old content is still there.
    """
    with replacing(path, mode=mode) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def save(
    path: Path,
    data: bytes | str,
    fix: str = "give another path",
    *,
    error: type[TaktlineError] = DataError,
    mode: int = 0o644,
) -> None:
    """Writes a file in one step; a failure becomes one sentence.

    Args:
        path: the file; its folder exists.
        data: its content; text is stored as UTF-8.
        fix: what to do when it cannot be written.
        error: the kind of error to raise in that case.
        mode: permissions of the file.

    Raises:
        TaktlineError: of the kind `error`: it cannot be written; the old content is still there.
    """
    try:
        write_atomic(path, data, mode=mode)
    except OSError as cause:
        raise error(f"{path} cannot be written: {cause.strerror or cause}; {fix}") from cause


@contextmanager
def as_text(file: IO[bytes]) -> Iterator[IO[str]]:
    """Yields a binary file as UTF-8 text, with line ends as they are written; the file stays open."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    try:
        yield text
    finally:
        # This flushes the text and leaves the file open.
        text.detach()


def make_folder(folder: Path, fix: str, *, what: str = "the folder", error: type[TaktlineError] = ConfigError) -> None:
    """Creates a folder and its parents if they do not exist yet.

    Args:
        folder: the folder.
        fix: what to do when it cannot be created.
        what: what to call it in the error.
        error: the kind of error to raise in that case.

    Raises:
        TaktlineError: of the kind `error`: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise error(f"{what} {folder} cannot be created: {cause.strerror or cause}; {fix}") from cause


@contextmanager
def alone_in(folder: Path, fix: str) -> Iterator[None]:
    """Keeps a folder to this process, as long as the block lasts, from others that ask for the same.

    Args:
        folder: it exists.
        fix: what whoever comes second can do.

    Raises:
        ConfigError: another process has it.
        OSError: it cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another run is writing into {folder}; wait for it, or {fix}") from error
        except OSError:
            # A network share may have no locks for folders. There, nobody is kept out.
            log.debug("%s cannot be locked", folder, exc_info=True)
        yield
    finally:
        os.close(handle)


def exchange(first: Path, second: Path) -> None:
    """Swaps two files or folders of one file system in one step, so that neither is ever missing.

    Raises:
        OSError: one does not exist, or the file system cannot swap.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(first), None, str(second))
    _sync_folder(second.parent)


def check_writable(path: Path) -> None:
    """Refuses a file that could not be written later, before any work is done for it.

    Raises:
        DataError: its folder does not exist or is not writable, or it is itself a folder.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise DataError(
            f"{path} cannot be written: there is no writable folder {path.parent}; create it, or give another path"
        )


def _sync_folder(folder: Path) -> None:
    # Without this, a power failure can undo the rename.
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
