"""An engine that is opened again when it fails, or replaced by another."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from engines.engine import Engine, Frames, Scores
from engines.errors import EngineError, TaktlineError

log = logging.getLogger(__name__)

_FAILURES = 3
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0

Opener = Callable[[], Engine]


class FailoverEngine(Engine):
    """Runs an engine, and opens it again when three batches in a row have failed.

    Where it cannot be opened, the next opener is tried, such as that of an engine on the CPU; where none can, batches
    fail at once and it is tried again later, after a pause that doubles up to 30 seconds.

    Args:
        openers: open the engine that is preferred, and those that may replace it. The first is used at once.

    Raises:
        TaktlineError: what the first opener raises.

    Attributes:
        failovers: how often an engine was opened again or replaced.
    """

    def __init__(self, openers: Sequence[Opener]) -> None:
        self._openers = tuple(openers)
        self._inner: Engine | None = self._openers[0]()
        super().__init__(self._inner.size, self._inner.precision, self._inner.max_batch, self._inner.device)
        self.jobs = self._inner.jobs
        self._show(self._inner)
        self.failovers = self._failures = 0
        self._threshold: float | None = None
        self._pause, self._not_before = _FIRST_PAUSE_S, 0.0
        self._lock = threading.Lock()

    @property
    def inner(self) -> Engine | None:
        """The engine that runs at the moment, or None while none can be opened."""
        return self._inner

    def set_threshold(self, threshold: float) -> None:
        """Tells the engine, and every one that takes its place."""
        with self._lock:
            self._threshold = threshold
            if self._inner is not None:
                self._inner.set_threshold(threshold)

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        with self._lock:
            if self._inner is None or self._failures >= _FAILURES:
                self._reopen()
            inner = self._inner
        if inner is None:
            raise EngineError(f"the engine {self.name} failed and cannot be opened again yet")
        try:
            future = inner.submit(frames, until)
        except EngineError:
            self._failures += 1
            raise
        future.add_done_callback(self._note)
        return future

    def _note(self, future: Future[Scores]) -> None:
        self._failures = 0 if future.exception() is None else self._failures + 1

    def _reopen(self) -> None:
        if time.monotonic() < self._not_before:
            return
        if self._inner is not None:
            log.error("the engine %s (%s) failed %d times in a row; it is opened again",
                      self.name, self.device_name, self._failures)  # fmt: skip
            self._close_inner()
        for opener in self._openers:
            try:
                opened = opener()
            except TaktlineError as error:
                log.error("the engine cannot be opened: %s", error)
                continue
            if opened.max_batch < self.max_batch:
                log.error("the engine %s takes batches of %d only, and the line makes some of %d",
                          opened.name, opened.max_batch, self.max_batch)  # fmt: skip
                opened.close()
                continue
            self._inner, self._failures, self._pause = opened, 0, _FIRST_PAUSE_S
            self.failovers += 1
            self._show(opened)
            if self._threshold is not None:
                opened.set_threshold(self._threshold)
            log.warning("the line goes on with the engine %s %s on %s", self.name, self.precision, self.device_name)
            return
        self._not_before = time.monotonic() + self._pause
        self._pause = min(_LONGEST_PAUSE_S, 2 * self._pause)

    def _show(self, engine: Engine) -> None:
        self.name, self.precision = engine.name, engine.precision
        self.device, self.device_name = engine.device, engine.device_name
        self.batch_ns = engine.batch_ns

    def _close_inner(self) -> None:
        inner, self._inner = self._inner, None
        if inner is None:
            return
        try:
            inner.close()
        except TaktlineError as error:
            log.warning("the engine %s did not close cleanly: %s", self.name, error)

    def _close(self) -> None:
        with self._lock:
            self._close_inner()
