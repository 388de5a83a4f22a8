"""Verdicts that were published before they could be journaled, kept in memory until the disk takes them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from itertools import islice

from pipeline.protocol.entry import Entry

_MOST_BYTES = 64 << 20


class Backlog:
    """A queue of entries that is full at 64 MiB. Not thread-safe: its owner guards it.

    Attributes:
        overflowed: whether entries did not fit since it was last empty.
        lost: number of entries that did not fit.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.overflowed = False
        self.lost = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Sequence[Entry]) -> bool:
        """Keeps entries or counts them as lost, and returns whether it keeps them.

        Once some are lost, all later ones are lost too until it is empty, so that those it keeps have no gap.
        """
        size = sum(entry.size for entry in entries)
        if self.overflowed or self._bytes + size > _MOST_BYTES:
            self.overflowed = True
            self.lost += len(entries)
            return False
        self._entries.extend(entries)
        self._bytes += size
        return True

    def first(self, count: int) -> list[Entry]:
        """Returns the oldest entries."""
        return list(islice(self._entries, count))

    def remove(self, count: int) -> None:
        """Removes the oldest entries."""
        for _ in range(count):
            self._bytes -= self._entries.popleft().size

    def of(self, camera: str) -> list[Entry]:
        """Returns a camera's entries, oldest first."""
        return [entry for entry in self._entries if entry.camera == camera]

    @property
    def cameras(self) -> set[str]:
        """The cameras it holds entries for."""
        return {entry.camera for entry in self._entries}

    @property
    def lag_s(self) -> float:
        """How long ago the oldest entry was captured, in seconds; 0 if it is empty."""
        if not self._entries:
            return 0.0
        return round(max(0.0, (time.time_ns() - self._entries[0].captured_at) / 1e9), 3)
