"""Batches in flight: a few slots, and one thread that collects their results in order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from engines.engine import Frames, Scores
from engines.foreign import translated
from engines.worker import Worker


class Slot(Protocol):
    """What one batch in flight needs, such as buffers, a stream and an execution context."""

    def start(self, frames: Frames) -> None:
        """Starts computing the frames without waiting for the result."""

    def finish(self) -> Scores:
        """Waits for the result, or computes it here if nothing runs in the background."""


class Jobs:
    """Hands batches to slots and answers them in the order they came.

    While every slot is busy, `submit` waits. A slot that fails fails only its own batch and is used again. If the
    device is gone, every batch fails at once, and none hangs.

    Args:
        name: the engine's name, for the thread and for errors.
        slots: at least one.
    """

    def __init__(self, name: str, slots: Sequence[Slot]) -> None:
        self._failed = f"the engine {name} failed on a batch"
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._order = threading.Lock()
        self._collector = Worker(f"engine-{name}")

    def submit(self, frames: Frames) -> Future[Scores]:
        """Starts a batch as soon as a slot is free.

        Raises:
            EngineError: it could not be started.
        """
        slot = self._free.get()
        with self._order:
            try:
                with translated(self._failed):
                    slot.start(frames)
            except BaseException:
                self._free.put(slot)
                raise
            return self._collector.submit(partial(self._finish, slot))

    def close(self) -> None:
        """Waits for the batches in flight and ends the thread."""
        self._collector.close()

    def _finish(self, slot: Slot) -> Scores:
        try:
            with translated(self._failed):
                return slot.finish()
        finally:
            self._free.put(slot)
