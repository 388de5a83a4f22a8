"""Verdicts into files, one JSON object a line."""

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
    """Appends verdicts to `FILE`. When it is full it becomes `FILE.1`, that one `FILE.2`, and so on up to `keep`.

    What a crash left behind after the last stored position is cut off and written anew: each verdict stands there once.

    Args:
        path: the file.
        most_bytes: a file that is longer is put aside.
        keep: how many are kept that were put aside.

    Raises:
        ConfigError: the file cannot be opened.
    """

    def __init__(self, path: Path, most_bytes: int = 100 << 20, keep: int = 10) -> None:
        self._path, self._most_bytes, self._keep = path, most_bytes, keep
        self._file = self._open()

    def deliver(self, verdicts: Sequence[Verdict], stop: threading.Event) -> None:
        """Appends them and waits until they are on the disk."""
        del stop
        try:
            # A moved or removed file is not written on unseen.
            if not self._path.exists() or os.fstat(self._file.fileno()).st_ino != self._path.stat().st_ino:
                self._reopen()
            size = os.fstat(self._file.fileno()).st_size
            if size >= self._most_bytes:
                self._file.close()
                self._put_aside()
                self._reopen()
                size = 0
            try:
                rest = b"".join(verdict_json(verdict) + b"\n" for verdict in verdicts)
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError:
                # All of them come again: none of them may stand there.
                self._file.truncate(size)
                raise
        except OSError as error:
            raise Unreachable(f"{self._path} cannot be written ({error.strerror or error})") from error

    def mark(self) -> Any:
        """Returns which file it is, and how long."""
        found = os.fstat(self._file.fileno())
        return {"inode": found.st_ino, "size": found.st_size}

    def resume(self, mark: Any) -> None:
        """Cuts off what was written after the position that goes with the mark."""
        if not isinstance(mark, dict):
            return
        inode, size = mark.get("inode"), mark.get("size")
        found, aside = os.fstat(self._file.fileno()), self._aside(1)
        if found.st_ino == inode:
            keep = size
        elif aside.exists() and aside.stat().st_ino == inode:
            # It was put aside just before the crash; nothing in the new file was stored.
            keep = 0
        else:
            log.warning("%s is not the file that was written last time; what is in it stays", self._path)
            return
        if isinstance(keep, int) and found.st_size > keep:
            log.warning("the last %d bytes of %s are written anew", found.st_size - keep, self._path)
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

    def _put_aside(self) -> None:
        for number in range(self._keep, 1, -1):
            if self._aside(number - 1).exists():
                self._aside(number - 1).replace(self._aside(number))
        if self._keep:
            self._path.replace(self._aside(1))
        else:
            self._path.unlink()

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
