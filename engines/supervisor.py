"""One engine under supervision: a daemon thread that opens it, feeds it and closes it, and can be abandoned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial

from engines.batches import Answer, Batch, Batches
from engines.engine import Engine, Scores
from engines.errors import EngineError, TaktlineError
from engines.foreign import translated

Opener = Callable[[], Engine]


class SupervisedEngine:
    """Opens an engine, feeds it and closes it, all on one daemon thread.

    Whatever hangs in the engine's library hangs this thread only, and never keeps the process alive. Once it is
    `retired` it takes no more batches, and closes the engine as soon as the library lets it.

    Args:
        opener: opens the engine.
        index: the opener's place in the order of preference.
        batches: where batches wait. Their lock guards all attributes.
        most_failures: batches that fail in a row before it takes no more.

    Attributes:
        engine: the engine once it is open.
        error: why it could not be opened.
        serving: whether it may take batches.
        retired: whether it is to close.
        scored: batches that it scored.
        failures: batches that failed since the last that it scored.
        started: monotonic seconds when opening began.
    """

    def __init__(self, opener: Opener, index: int, batches: Batches[SupervisedEngine], most_failures: int) -> None:
        self.index = index
        self.engine: Engine | None = None
        self.error: TaktlineError | None = None
        self.serving = self.retired = False
        self.scored = self.failures = 0
        self.started = time.monotonic()
        self._opener, self._batches, self._most_failures = opener, batches, most_failures
        self._thread = threading.Thread(target=self._run, name=f"engine {index}", daemon=True)
        self._thread.start()

    @property
    def opened(self) -> bool:
        """Whether opening is over, well or not."""
        return self.engine is not None or self.error is not None

    @property
    def failing(self) -> bool:
        """Whether it failed so often that it should be opened again."""
        return self.failures >= self._most_failures

    def join(self, timeout: float) -> bool:
        """Waits for the engine to be closed and tells whether it is."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        changed = self._batches.changed
        try:
            with translated("the engine cannot be opened"):
                engine = self._opener()
        except TaktlineError as error:
            with changed:
                self.error = error
                changed.notify_all()
            return
        with changed:
            self.engine = engine
            changed.notify_all()
        while (batch := self._next()) is not None:
            try:
                future = engine.submit(batch.frames, batch.until)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this batch
                self._answer(batch, error)
            else:
                future.add_done_callback(partial(self._collect, batch))
            # A reference that stays until the next batch would keep its pictures alive.
            del batch
        engine.close()

    def _next(self) -> Batch | None:
        with self._batches.changed:
            self._batches.changed.wait_for(
                lambda: self.retired or (self.serving and not self.failing and self._batches.waiting)
            )
            return None if self.retired else self._batches.take(self)

    def _collect(self, batch: Batch, future: Future[Scores]) -> None:
        error = future.exception()
        if error is None:
            self._answer(batch, future.result())
        else:
            self._answer(batch, error if isinstance(error, Exception) else EngineError(repr(error)))

    def _answer(self, batch: Batch, answer: Answer) -> None:
        with self._batches.changed:
            if self._batches.answered(batch, answer):
                failed = isinstance(answer, Exception)
                self.failures = self.failures + 1 if failed else 0
                self.scored += not failed
        self._batches.flush()
