"""A bounded queue between two stages, which can be closed in order or aborted."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from pipeline.flow.clock import SYSTEM_CLOCK, Clock

T = TypeVar("T")


class ChannelClosed(Exception):
    """Nothing more comes out of the channel, or nothing more can go in."""


class Channel(Generic[T]):
    """First in, first out, of limited length; safe between any number of threads.

    `close` ends it in an orderly way, once every writer has called it: the items in it are still handed out. `abort`
    ends it at once: threads that wait at either end get `ChannelClosed`.

    Args:
        capacity: the most items in it.
        writers: how many times `close` must be called before it is closed.
        clock: does the waiting.
    """

    def __init__(self, capacity: int, writers: int = 1, clock: Clock = SYSTEM_CLOCK) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._writers = writers
        self._closed = False
        self._aborted = False
        self._changed = threading.Condition()
        self._clock = clock

    @property
    def depth(self) -> int:
        """Number of items in it."""
        return len(self._items)

    def put(self, item: T) -> None:
        """Puts an item in, waiting for room.

        Raises:
            ChannelClosed: the channel was closed or aborted.
        """
        with self._changed:
            self._clock.wait_for(self._changed, lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                raise ChannelClosed
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> T:
        """Takes the oldest item out, waiting for one.

        Raises:
            ChannelClosed: it is closed and empty, or was aborted.
            TimeoutError: no item came in time.
        """
        with self._changed:
            if not self._clock.wait_for(self._changed, lambda: self._items or self._closed, timeout):
                raise TimeoutError
            if self._aborted or not self._items:
                raise ChannelClosed
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def get_many(self, limit: int, timeout: float | None = None) -> list[T]:
        """Takes out up to `limit` items, waiting only for the first; raises what `get` raises."""
        items = [self.get(timeout)]
        with self._changed:
            while self._items and len(items) < limit and not self._aborted:
                items.append(self._items.popleft())
            self._changed.notify_all()
        return items

    def close(self) -> None:
        """Ends one writer; the last one closes the channel."""
        with self._changed:
            self._writers -= 1
            self._closed = self._closed or self._writers <= 0
            self._changed.notify_all()

    def abort(self) -> None:
        """Ends the channel at once and drops its items."""
        with self._changed:
            self._closed = self._aborted = True
            self._items.clear()
            self._changed.notify_all()
