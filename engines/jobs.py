"""Batches in flight for engines that have no queue of their own: a few slots, and one thread that collects results."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from engines.engine import Frames, Scores
from engines.errors import EngineError


class Slot(Protocol):
    """What one batch in flight needs: its own buffers, stream and execution context."""

    def start(self, frames: Frames) -> None:
        """Takes the frames and starts on them; does not wait for the result."""

    def finish(self) -> Scores:
        """Waits for the result, or computes it here where nothing runs by itself."""


class Jobs:
    """Hands batches to slots and answers in the order in which they came.

    While every slot is busy, `submit` waits. A slot that fails fails its own batch and is used again: where the device
    is gone, every batch fails at once, and none hangs.

    Args:
        name: the engine's, for its thread and its errors.
        slots: at least one.
    """

    def __init__(self, name: str, slots: Sequence[Slot]) -> None:
        self._name = name
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)
        self._started: queue.SimpleQueue[tuple[Slot, Future[Scores]] | None] = queue.SimpleQueue()
        self._order = threading.Lock()
        self._collector = threading.Thread(target=self._collect, name=f"engine-{name}", daemon=True)
        self._collector.start()

    def submit(self, frames: Frames) -> Future[Scores]:
        """Starts a batch as soon as a slot is free.

        Raises:
            EngineError: it could not be started.
        """
        slot = self._free.get()
        future: Future[Scores] = Future()
        with self._order:
            try:
                slot.start(frames)
            except Exception as error:
                self._free.put(slot)
                raise self._failure(error) from error
            self._started.put((slot, future))
        return future

    def close(self) -> None:
        """Waits for the batches in flight and ends the thread."""
        self._started.put(None)
        self._collector.join()

    def _collect(self) -> None:
        while (job := self._started.get()) is not None:
            slot, future = job
            try:
                scores = slot.finish()
            except Exception as error:  # noqa: BLE001 - whatever a foreign library raises belongs to this batch
                failure = self._failure(error)
                failure.__cause__ = error
                self._free.put(slot)
                future.set_exception(failure)
            else:
                self._free.put(slot)
                future.set_result(scores)

    def _failure(self, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            return error
        return EngineError(f"the engine {self._name} failed on a batch: {first_line(error)}")


def first_line(error: Exception) -> str:
    """Returns what an error of a foreign library says, in one line: the last that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
