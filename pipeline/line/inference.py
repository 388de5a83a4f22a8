"""Keeps the engine busy: batches go in as they come, results come back in the same order."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from engines.engine import Engine, Scores
from pipeline.flow.channel import Channel
from pipeline.flow.stage import Stage
from pipeline.line.batcher import Batch, BatchBuffers
from pipeline.line.judge import Judge


@dataclass(slots=True)
class ScoredBatch:
    """A batch and the promise of its scores.

    Attributes:
        batch: its frames.
        scores: a row for each frame; fails with what the engine raised.
        judge: of the bundle that they come from.
    """

    batch: Batch
    scores: Future[Scores]
    judge: Judge


class Inference(Stage):
    """Submits batches without waiting for their results, so that several are in flight."""

    def __init__(
        self,
        engine: Engine,
        judge: Judge,
        inbox: Channel[Batch],
        outbox: Channel[ScoredBatch],
        buffers: BatchBuffers,
    ) -> None:
        super().__init__("inference")
        self._engine, self._judge, self._swapping = engine, judge, threading.Lock()
        self._inbox, self._outbox, self._buffers = inbox, outbox, buffers

    def work(self) -> None:
        """Submits batches until there are no more."""
        while True:
            batch = self._inbox.get()
            with self._swapping:
                scores, judge = self._submit(batch), self._judge
            scores.add_done_callback(partial(self._done, batch))
            self._outbox.put(ScoredBatch(batch, scores, judge))

    def swap(self, engine: Engine, judge: Judge) -> None:
        """Lets another engine score the next batch; returns when no more will go to the one before."""
        with self._swapping:
            self._engine, self._judge = engine, judge

    def finish(self) -> None:
        """Ends the scored batches."""
        self._outbox.close()

    def _submit(self, batch: Batch) -> Future[Scores]:
        try:
            deadlines = [frame.deadline for frame in batch.frames if frame.deadline is not None]
            return self._engine.submit(batch.images, min(deadlines, default=None))
        except Exception as error:  # noqa: BLE001 - it is raised again where the batch is answered for
            answer: Future[Scores] = Future()
            answer.set_exception(error)
            return answer

    def _done(self, batch: Batch, scores: Future[Scores]) -> None:
        now = time.monotonic_ns()
        for frame in batch.frames:
            frame.inferred = now
        self._buffers.give_back(batch.slot, scores.cancelled() or scores.exception() is not None)
