"""Writes files that appear whole or not at all, and makes folders."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from engines.errors import ConfigError, DataError, TaktlineError

# From Linux's fcntl.h and fs.h.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def replacing(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """Yields an open temporary file beside `path`, which takes its name when the block ends without an error.

    File and folder are flushed to the disk, so after a power cut either the old content or the new is there. Whatever
    fails, a full disk included, the temporary file is removed and `path` is as it was.

    Args:
        path: the file to write or replace; its folder exists.
        mode: permissions of the file. Until it has its name, nobody but its owner can read it.

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
        OSError: it cannot be written; what was there before still is.
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
    """Writes a file in one step, and says in one sentence why that failed.

    Args:
        path: the file; its folder exists.
        data: its content; text is stored as UTF-8.
        fix: what to do when it cannot be written.
        error: the kind of error to raise then.
        mode: permissions of the file.

    Raises:
        TaktlineError: of the kind `error`: it cannot be written; what was there before still is.
    """
    try:
        write_atomic(path, data, mode=mode)
    except OSError as cause:
        raise error(f"{path} cannot be written: {cause.strerror or cause}; {fix}") from cause


def make_folder(folder: Path, fix: str, *, what: str = "the folder", error: type[TaktlineError] = ConfigError) -> None:
    """Makes a folder and those above it, where they do not exist yet.

    Args:
        folder: the folder.
        fix: what to do when it cannot be made.
        what: what to call it in the error.
        error: the kind of error to raise then.

    Raises:
        TaktlineError: of the kind `error`: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise error(f"{what} {folder} cannot be made: {cause.strerror or cause}; {fix}") from cause


def exchange(first: Path, second: Path) -> None:
    """Swaps two names, of files or folders on one file system, in one step: neither is ever missing.

    Raises:
        OSError: one is not there, or the file system cannot do it.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(first), None, str(second))
    _sync_folder(second.parent)


def check_writable(path: Path) -> None:
    """Refuses a file that could not be written later, before the work is done for nothing.

    Raises:
        DataError: its folder does not exist or is not writable, or it is a folder itself.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise DataError(
            f"{path} cannot be written: there is no writable folder {path.parent}; make it, or give another"
        )


def _sync_folder(folder: Path) -> None:
    # Without this a power cut can undo the new name.
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
