"""Which files of a folder are new: found at a bounded cost, whatever lies there."""

from __future__ import annotations

import os
import time
from pathlib import Path

from engines.image import is_picture_name

# Listing a folder takes at most this share of a core, and of the time on a share that is slow to answer.
_LISTING_SHARE = 0.05
_WAITING_SHARE = 0.5
# Looking at known files takes at most this long on each call.
_REVISIT_S = 0.002
# A folder's own time may be as coarse as 2 s (FAT): two changes within that look like one.
_COARSEST_TIME_S = 2.0
# Some network shares hold a folder's time back, or have none.
_LIST_ANYWAY_S = 5.0

FileState = tuple[int, int]


def state_of(status: os.stat_result) -> FileState:
    """Returns what changes when a file is written: its size in bytes, and its time in nanoseconds."""
    return status.st_size, status.st_mtime_ns


class FolderScan:
    """Finds the pictures of a folder that are new, or were written anew under a known name.

    The folder is listed when its own time says that a name came or went, and every few seconds in any case; a large
    folder less often, so that listing takes no more than a twentieth of a core. Known files are revisited in turn, as
    many on each call as two milliseconds allow. Memory grows with what lies in the folder, not with what ever did.

    An unmounted share leaves an empty folder in its place. So where the folder itself is another one than before, the
    names that are missing are kept until it changes again: they may come back with the share.

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
        """Takes a file as known in this state."""
        self._known[name] = state

    def look(self) -> set[str]:
        """Returns the names of pictures that are not known, or not in their present state.

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
        # By its handle, so that no other folder can come between a look at which it is and the names.
        handle = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            status = os.fstat(handle)
            names = set(os.listdir(handle))  # noqa: PTH208 - a path would be looked up anew
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
                # The next listing forgets it.
                continue
        return found
