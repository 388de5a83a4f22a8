"""Keeps the engine busy: batches go in as they come, results come back in the same order."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from engines.engine import Engine, Scores
from pipeline.batcher import Batch, BatchBuffers
from pipeline.channel import Channel
from pipeline.stage import Stage


@dataclass(slots=True)
class ScoredBatch:
    """A batch and the promise of its scores.

    Attributes:
        batch: its frames.
        scores: a row for each frame; fails with what the engine raised.
    """

    batch: Batch
    scores: Future[Scores]


class Inference(Stage):
    """Submits batches without waiting for their results, so that several are in flight."""

    def __init__(
        self,
        engine: Engine,
        inbox: Channel[Batch],
        outbox: Channel[ScoredBatch],
        buffers: BatchBuffers,
    ) -> None:
        super().__init__("inference")
        self._engine, self._inbox, self._outbox, self._buffers = engine, inbox, outbox, buffers

    def work(self) -> None:
        """Submits batches until there are no more."""
        while True:
            batch = self._inbox.get()
            scores = self._submit(batch)
            scores.add_done_callback(partial(self._done, batch))
            self._outbox.put(ScoredBatch(batch, scores))

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
        del scores
        now = time.monotonic_ns()
        for frame in batch.frames:
            frame.inferred = now
        self._buffers.give_back(batch.slot)
