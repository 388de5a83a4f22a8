"""The first stage: one thread per source."""

from __future__ import annotations

import threading

from pipeline.flow.frame import Frame
from pipeline.flow.stage import Stage
from pipeline.line.fair_queue import FairQueue
from pipeline.line.ledger import Ledger
from pipeline.publish.metrics import LineMetrics
from pipeline.sources.source import Source


class Capture(Stage):
    """Enters one source's frames into the ledger and puts them into the fair queue for the batcher.

    Args:
        first: the sequence of the source's first frame, which continues an earlier run.
    """

    def __init__(
        self,
        source: Source,
        queue: FairQueue,
        ledger: Ledger,
        metrics: LineMetrics,
        stop: threading.Event,
        paused: threading.Event,
        first: int = 0,
    ) -> None:
        super().__init__(f"capture {source.camera}")
        self._source, self._queue, self._ledger, self._metrics = source, queue, ledger, metrics
        self._stop, self._paused, self._first = stop, paused, first

    def work(self) -> None:
        """Takes frames until the source has no more or `stop` is set."""
        for frame in self._source.frames(self._stop):
            self.enter(frame)

    def enter(self, frame: Frame) -> None:
        """Enters one frame."""
        frame.sequence += self._first
        self._ledger.open(frame)
        self._metrics.captured(frame.camera)
        if self._paused.is_set():
            self._ledger.give_up(frame, "dropped")
            return
        dropped = self._queue.put(frame)
        if dropped is not None:
            self._ledger.give_up(dropped, "dropped")

    def ended(self) -> None:
        """Tells the queue and the ledger that this source has ended."""
        self._queue.close(self._source.camera)
        self._ledger.close_camera(self._source.camera)
