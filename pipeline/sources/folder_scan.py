"""Finds the new files in a folder at a bounded cost, whatever lies there."""

from __future__ import annotations

import os
import time
from pathlib import Path

from engines.image import is_picture_name

# Listing a folder takes at most this share of a core, or of the time if a network share is slow to answer.
_LISTING_SHARE = 0.05
_WAITING_SHARE = 0.5
# Revisiting known files takes at most this long per call.
_REVISIT_S = 0.002
# A folder's modification time may be as coarse as 2 s (FAT), so that two changes look like one.
_COARSEST_TIME_S = 2.0
# Some network shares delay a folder's modification time, or have none.
_LIST_ANYWAY_S = 5.0

FileState = tuple[int, int]


def state_of(status: os.stat_result) -> FileState:
    """Returns what changes when a file is written: its size in bytes and its modification time in nanoseconds."""
    return status.st_size, status.st_mtime_ns


class FolderScan:
    """Finds the pictures in a folder that are new or were rewritten under a known name.

    The folder is listed when its modification time shows that a name came or went, and every few seconds in any case.
    A large folder is listed less often, so that listing takes no more than a twentieth of a core. Known files are
    revisited in turn, as many per call as two milliseconds allow. Memory grows with what is in the folder, not with
    what ever was.

    An unmounted share leaves an empty folder in its place. So if the path suddenly leads to another folder, missing
    names are kept until it changes again: they may come back with the share.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, FileState] = {}
        self._elsewhere: dict[str, FileState] = {}
        self._round: list[str] = []
        self._stamp: tuple[int, int, int] | None = None
        self._place: tuple[int, int] | None = None
        self._listed = self._list_after = -_LIST_ANYWAY_S
        self._unclear_until = 0.0

    def remember(self, name: str, state: FileState) -> None:
        """Marks a file as known in this state."""
        self._known[name] = state

    def look(self) -> set[str]:
        """Returns the names of pictures that are unknown or have changed.

        Raises:
            OSError: the folder cannot be read.
        """
        status = self._root.stat()
        now = time.monotonic()
        stamp = status.st_dev, status.st_ino, status.st_mtime_ns
        if stamp != self._stamp:
            self._stamp, self._unclear_until = stamp, now + _COARSEST_TIME_S
        found = self._revisit()
        due = self._listed <= self._unclear_until or now >= self._listed + _LIST_ANYWAY_S
        if due and now >= self._list_after:
            self._listed, worked = now, time.thread_time()
            found |= self._list()
            worked, took = time.thread_time() - worked, time.monotonic() - now
            self._list_after = now + max(worked / _LISTING_SHARE, took / _WAITING_SHARE)
        return found

    def _list(self) -> set[str]:
        # By its handle, so that identity and names come from the same folder.
        handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            status = os.fstat(handle)
            names = set(os.listdir(handle))  # noqa: PTH208 - a path would be looked up again
        finally:
            os.close(handle)
        place = status.st_dev, status.st_ino
        if place == self._place:
            for name in self._known.keys() - names:
                del self._known[name]
        else:
            before = self._elsewhere | self._known
            self._elsewhere = {name: state for name, state in self._known.items() if name not in names}
            self._known = {name: state for name, state in before.items() if name in names}
            self._place = place
        return {name for name in names - self._known.keys() if is_picture_name(name)}

    def _revisit(self) -> set[str]:
        found = set()
        until = time.monotonic() + _REVISIT_S
        if not self._round:
            self._round = list(self._known)
        while self._round and time.monotonic() < until:
            name = self._round.pop()
            known = self._known.get(name)
            try:
                if known is not None and state_of((self._root / name).stat()) != known:
                    found.add(name)
            except FileNotFoundError:
                # The next listing will forget it.
                continue
        return found
