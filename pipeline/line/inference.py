"""Keeps the engine busy: submits batches as they come, and passes results on in the same order."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from engines.engine import Engine, Scores
from pipeline.flow.channel import Channel
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.stage import Stage
from pipeline.line.batcher import Batch, BatchBuffers
from pipeline.line.judge import Judge
from pipeline.line.model import ModelSlot


@dataclass(slots=True)
class ScoredBatch:
    """A batch and the future of its scores.

    Attributes:
        batch: the batch.
        scores: one row per frame; fails with the engine's error.
        judge: the judge of the bundle that gave the scores.
    """

    batch: Batch
    scores: Future[Scores]
    judge: Judge


class Inference(Stage):
    """Submits batches without waiting for their results, so that several are in flight."""

    def __init__(
        self,
        slot: ModelSlot,
        inbox: Channel[Batch],
        outbox: Channel[ScoredBatch],
        buffers: BatchBuffers,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__("inference", clock)
        self._slot, self._inbox, self._outbox, self._buffers = slot, inbox, outbox, buffers

    def work(self) -> None:
        """Submits batches until there are no more."""
        while True:
            self._outbox.put(self.submit(self._inbox.get()))

    def submit(self, batch: Batch) -> ScoredBatch:
        """Submits a batch to the engine; waits if the engine is still full."""
        with self._slot.using() as model:
            scores = _submit(model.engine, batch)
        scores.add_done_callback(partial(self._done, batch))
        return ScoredBatch(batch, scores, model.judge)

    def ended(self) -> None:
        """Closes the queue of scored batches."""
        self._outbox.close()

    def _done(self, batch: Batch, scores: Future[Scores]) -> None:
        now = self._clock.monotonic_ns()
        for frame in batch.frames:
            frame.inferred = now
        self._buffers.give_back(batch.slot, scores.cancelled() or scores.exception() is not None)


def _submit(engine: Engine, batch: Batch) -> Future[Scores]:
    try:
        deadlines = [frame.deadline for frame in batch.frames if frame.deadline is not None]
        return engine.submit(batch.images, min(deadlines, default=None))
    except Exception as error:  # noqa: BLE001 - it is raised again where the batch is answered
        answer: Future[Scores] = Future()
        answer.set_exception(error)
        return answer
