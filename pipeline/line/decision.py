"""The stage behind the engine: every frame of every batch gets its verdict."""

from __future__ import annotations

import logging

from engines.errors import EngineError
from pipeline.flow.channel import Channel
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.stage import Stage
from pipeline.line.inference import ScoredBatch
from pipeline.line.ledger import Ledger
from pipeline.line.service_time import ServiceTime
from pipeline.publish.metrics import LineMetrics

log = logging.getLogger(__name__)


class Decision(Stage):
    """Judges every frame of every batch and enters the answers into the ledger."""

    restarts = 3

    def __init__(
        self, inbox: Channel[ScoredBatch], ledger: Ledger, service_time: ServiceTime, metrics: LineMetrics,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:  # fmt: skip
        super().__init__("decision", clock)
        self._inbox, self._ledger, self._service_time, self._metrics = inbox, ledger, service_time, metrics

    def work(self) -> None:
        """Judges batches until there are no more."""
        while True:
            self.decide(self._inbox.get())

    def decide(self, scored: ScoredBatch) -> None:
        """Waits for a batch's scores and answers each of its frames."""
        try:
            self._decide(scored)
        except MemoryError:
            # Its next batch may find some: this is no reason to start a stage again.
            log.error("a batch of %d frames was not judged: the machine has no memory left", len(scored.batch.frames))
        finally:
            # Frames that have been answered keep their answer.
            for frame in scored.batch.frames:
                self._ledger.give_up(frame, "engine_error")

    def _decide(self, scored: ScoredBatch) -> None:
        frames = scored.batch.frames
        try:
            scores = scored.scores.result()
        except EngineError as error:
            log.error("a batch of %d frames was not inspected: %s", len(frames), error)
            return
        self._metrics.scored(len(frames), int(scores.rescored.sum()))
        for row, frame in enumerate(frames):
            if not frame.answered:
                self._ledger.answer(scored.judge.inspected(frame, scores, row))
        self._service_time.decided(self._clock.monotonic_ns() - frames[0].inferred)
