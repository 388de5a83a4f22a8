"""Holds back files that are still being written until they are whole."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engines.image import is_cut_short
from pipeline.sources.folder_scan import FileState, state_of

_SETTLED_S = 0.5


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that counts as finished.

    Attributes:
        name: without its folder.
        state: its state when it was read.
        data: its bytes; None if it cannot be read.
        fault: why it cannot be read.
    """

    name: str
    state: FileState
    data: bytes | None
    fault: str | None = None


@dataclass(slots=True)
class _Growing:
    """A file's last known state, since when it has been in it, and when to look again."""

    state: FileState
    since: float
    look_at: float = 0.0


class Arrivals:
    """Holds files back until they are whole.

    A file is whole when its size and time have not changed for half a second and the end of its picture is there. A
    file that stays cut short or cannot be read is passed on anyway after a while, because a part has passed.

    Args:
        root: the files' folder.
        give_up_s: that while, in seconds.
    """

    def __init__(self, root: Path, give_up_s: float = 10.0) -> None:
        self._root, self._give_up_s = root, give_up_s
        self._growing: dict[str, _Growing] = {}

    def add(self, names: Iterable[str]) -> None:
        """Adds new files; files that are already here are not touched."""
        for name in names:
            self._growing.setdefault(name, _Growing((-1, -1), time.monotonic()))

    def clear(self) -> None:
        """Forgets all files."""
        self._growing.clear()

    def whole(self) -> Iterator[Arrival]:
        """Yields the files that are whole by now, by name. A failing disk or share ends it early."""
        now = time.monotonic()
        for name in sorted(name for name, growing in self._growing.items() if growing.look_at <= now):
            growing = self._growing[name]
            growing.look_at = now + _SETTLED_S
            arrival = None
            try:
                arrival = self._look(name, growing)
            except FileNotFoundError:
                del self._growing[name]
                continue
            except (OSError, MemoryError) as error:
                if time.monotonic() - growing.since < self._give_up_s:
                    if isinstance(error, PermissionError):
                        continue
                    return
                why = error.strerror or str(error) if isinstance(error, OSError) else "the machine has no memory left"
                reason = f"{self._root / name} cannot be read: {why}"
                arrival = Arrival(name, growing.state, None, reason)
            if arrival is not None:
                del self._growing[name]
                yield arrival

    def _look(self, name: str, growing: _Growing) -> Arrival | None:
        path, now = self._root / name, time.monotonic()
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError
        if state_of(status) != growing.state:
            growing.state, growing.since = state_of(status), now
            return None
        if now - growing.since < _SETTLED_S:
            return None
        with path.open("rb") as file:
            data = file.read()
            read_in = state_of(os.fstat(file.fileno()))
        if read_in != growing.state:
            growing.state, growing.since = read_in, now
            return None
        whole = len(data) == read_in[0] > 0 and not is_cut_short(data)
        return Arrival(name, read_in, data) if whole or now - growing.since >= self._give_up_s else None
