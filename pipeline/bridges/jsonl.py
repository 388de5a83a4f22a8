"""A bridge to files: one JSON object per line."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from engines.errors import ConfigError
from pipeline.bridges.bridge import Destination, Unreachable, verdict_json
from pipeline.protocol.verdict import Verdict

log = logging.getLogger(__name__)


class JsonLines(Destination):
    """Appends verdicts to `FILE`. A full file becomes `FILE.1`, the one before it `FILE.2`, and so on up to `keep`.

    After a crash, everything after the last stored position is cut off and written again, so that each verdict is in
    the files once.

    Args:
        path: the file.
        most_bytes: a longer file is rotated.
        keep: number of rotated files to keep.

    Raises:
        ConfigError: the file cannot be opened.
    """

    def __init__(self, path: Path, most_bytes: int = 100 << 20, keep: int = 10) -> None:
        self._path, self._most_bytes, self._keep = path, most_bytes, keep
        self._file = self._open()

    def deliver(self, verdicts: Sequence[Verdict], stop: threading.Event) -> None:
        """Appends verdicts and waits until they are on the disk."""
        del stop
        try:
            # Someone may have moved or removed the open file.
            if not self._path.exists() or os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino:
                self._reopen()
            size = os.fstat(self._file.fileno()).st_size
            if size >= self._most_bytes:
                self._file.close()
                self._rotate()
                self._reopen()
                size = 0
            try:
                rest = b"".join(verdict_json(verdict) + b"\n" for verdict in verdicts)
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError:
                # All of them will be delivered again, so none may stay.
                self._file.truncate(size)
                raise
        except OSError as error:
            raise Unreachable(f"{self._path} cannot be written ({error.strerror or error})") from error

    def mark(self) -> Any:
        """Returns which file was written last, and its length."""
        found = os.fstat(self._file.fileno())
        return {"inode": found.st_ino, "size": found.st_size}

    def resume(self, mark: Any) -> None:
        """Cuts off what was written after the mark."""
        if not isinstance(mark, dict):
            return
        inode, size = mark.get("inode"), mark.get("size")
        found, rotated = os.fstat(self._file.fileno()), self._rotated(1)
        if found.st_ino == inode:
            keep = size
        elif rotated.exists() and rotated.stat().st_ino == inode:
            # It was rotated just before the crash: no stored position covers anything in the new file.
            keep = 0
        else:
            log.warning("%s is not the file that the bridge wrote last; its content is kept", self._path)
            return
        if isinstance(keep, int) and found.st_size > keep:
            log.warning("the last %d bytes of %s will be written again", found.st_size - keep, self._path)
            self._file.truncate(keep)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("ab", buffering=0)
        except OSError as error:
            raise ConfigError(f"{self._path} cannot be written: {error.strerror or error}") from error

    def _reopen(self) -> None:
        self._file.close()
        self._file = self._path.open("ab", buffering=0)

    def _rotate(self) -> None:
        for number in range(self._keep, 1, -1):
            if self._rotated(number - 1).exists():
                self._rotated(number - 1).replace(self._rotated(number))
        if self._keep:
            self._path.replace(self._rotated(1))
        else:
            self._path.unlink()

    def _rotated(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
