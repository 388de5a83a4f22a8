"""One engine under supervision: a daemon thread opens, feeds and closes it, and can be abandoned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from engines.batches import Answer, Batch, Batches
from engines.engine import Engine, Scores
from engines.errors import EngineError, TaktlineError
from engines.foreign import first_line, translated

Opener = Callable[[], Engine]


class SupervisedEngine:
    """Opens an engine, feeds it and closes it, all on one daemon thread.

    If the engine's library hangs, only this thread hangs, and it never keeps the process alive. Once `retired` is set,
    it takes no more batches, and closes the engine as soon as the library allows it.

    Args:
        opener: opens the engine.
        index: the opener's place in the order of preference.
        batches: where batches wait. Their lock guards all attributes.
        most_failures: batches that fail in a row before it takes no more.
        now: monotonic seconds.

    Attributes:
        engine: the engine once it is open.
        error: why it could not be opened.
        serving: whether it may take batches.
        retired: whether it should close.
        scored: number of batches scored.
        failures: number of batches that failed since the last one that was scored.
        started: monotonic seconds when opening began.
    """

    def __init__(
        self,
        opener: Opener,
        index: int,
        batches: Batches[SupervisedEngine],
        most_failures: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.index = index
        self.engine: Engine | None = None
        self.error: TaktlineError | None = None
        self.serving = self.retired = False
        self.scored = self.failures = 0
        self.started = now()
        self._opener, self._batches, self._most_failures, self._now = opener, batches, most_failures, now
        self._thread = threading.Thread(target=self._run, name=f"engine {index}", daemon=True)

    def start(self) -> None:
        """Starts the thread; where the machine gives it none, the engine counts as one that cannot be opened."""
        try:
            self._thread.start()
        except (RuntimeError, MemoryError) as error:
            self.error = EngineError(f"the machine has no thread left for it ({first_line(error)})")

    @property
    def opened(self) -> bool:
        """Whether opening has ended, in success or failure."""
        return self.engine is not None or self.error is not None

    @property
    def failing(self) -> bool:
        """Whether it failed so often that it should be reopened."""
        return self.failures >= self._most_failures

    @property
    def may_take(self) -> bool:
        """Whether a batch waits for it."""
        return self.serving and not self.failing and not self.retired and bool(self._batches.waiting)

    def join(self, timeout: float) -> bool:
        """Waits for the engine to be closed and tells whether it is."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def open(self) -> None:
        """Opens the engine."""
        engine: Engine | None = None
        failure: TaktlineError | None = None
        try:
            with translated("the engine cannot be opened"):
                engine = self._opener()
        except TaktlineError as error:
            failure = error
        with self._batches.changed:
            self.engine, self.error = engine, failure
            self._batches.changed.notify_all()

    def feed(self) -> None:
        """Hands the oldest batch that waits for it to the engine, which may have to finish another first."""
        engine = self.engine
        with self._batches.changed:
            if engine is None or not self.may_take:
                return
            batch = self._batches.take(self, self._now())
        try:
            future = engine.submit(batch.frames, batch.until)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this batch
            self._answer(batch, error)
        else:
            future.add_done_callback(partial(self._collect, batch))

    def _run(self) -> None:
        self.open()
        if self.engine is None:
            return
        while self._wait():
            self.feed()
        self.engine.close()

    def _wait(self) -> bool:
        with self._batches.changed:
            self._batches.changed.wait_for(lambda: self.retired or self.may_take)
            return not self.retired

    def _collect(self, batch: Batch, future: Future[Scores]) -> None:
        error = future.exception()
        engine = self.engine
        if error is None and engine is not None:
            # By the time that they are judged, another engine may run.
            self._answer(batch, replace(future.result(), engine=engine.name, precision=engine.precision))
        else:
            self._answer(batch, error if isinstance(error, Exception) else EngineError(repr(error)))

    def _answer(self, batch: Batch, answer: Answer) -> None:
        with self._batches.changed:
            if self._batches.answered(batch, answer, self._now()):
                failed = isinstance(answer, Exception)
                self.failures = self.failures + 1 if failed else 0
                self.scored += not failed
        self._batches.flush()
