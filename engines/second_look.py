"""Two engines as one: a fast one scores every frame, an exact one rescores frames near the threshold."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from functools import partial

import numpy as np

from engines.engine import Engine, Frames, Scores
from engines.manifest import Band
from engines.worker import Worker

_TIMED_RUNS = 3


class SecondLook(Engine):
    """Gives every part the verdict that float32 gives, at nearly the speed of a lower precision.

    A lower precision moves a score a little, by an amount that calibration measured. If a frame's fast score lies
    within that distance of the threshold, the frame is scored again in float32. Results come in the order of
    submission.

    Args:
        fast: scores every frame.
        exact: the same network in float32.
        band: how far a fast score may be from the exact one.
        threshold: in sigma.

    Attributes:
        threshold: in sigma.
        band: see the arguments.
    """

    def __init__(self, fast: Engine, exact: Engine, band: Band, threshold: float) -> None:
        super().__init__(fast.size, fast.precision, min(fast.max_batch, exact.max_batch), fast.device)
        self.name, self.device_name = fast.name, fast.device_name
        self._fast, self._exact = fast, exact
        self.batch_ns = fast.batch_ns
        self.band, self.threshold = band, threshold
        self.jobs = fast.jobs + 1
        self._places = threading.Semaphore(self.jobs)
        self._worker = Worker("second-look")
        self._exact_ns = self._time_exact()

    def set_threshold(self, threshold: float) -> None:
        """Takes second looks near another threshold, in batches submitted from now on."""
        self.threshold = threshold

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        self._places.acquire()
        try:
            fast = self._fast.submit(frames, until)
            future = self._worker.submit(partial(self._look, frames, fast, until, self.threshold))
        except BaseException:
            self._places.release()
            raise
        future.add_done_callback(lambda _: self._places.release())
        return future

    def _look(self, frames: Frames, fast: Future[Scores], until: int | None, threshold: float) -> Scores:
        scores = fast.result()
        scores.score[:] -= np.float32(self.band.offset)
        # NaN counts as near.
        near = ~(np.abs(scores.score - threshold) > self.band.width)
        rows = np.flatnonzero(near)
        if not len(rows):
            return Scores(scores.score, scores.heatmap, ~near, near, threshold)
        if until is not None and time.monotonic_ns() + len(rows) * self._exact_ns > until:
            return Scores(scores.score, scores.heatmap, ~near, np.zeros_like(near), threshold)
        started = time.monotonic_ns()
        again = self._exact.infer(frames[rows])
        # The estimate falls slowly: one quick answer does not promise another.
        taken = (time.monotonic_ns() - started) // len(rows)
        self._exact_ns = max(taken, (9 * self._exact_ns + taken) // 10)
        scores.score[rows], scores.heatmap[rows] = again.score, again.heatmap
        return Scores(scores.score, scores.heatmap, np.ones_like(near), near, threshold)

    def _time_exact(self) -> int:
        frame = np.zeros((1, *self.size, 3), np.uint8)
        started = time.monotonic_ns()
        for _ in range(_TIMED_RUNS):
            self._exact.infer(frame)
        return (time.monotonic_ns() - started) // _TIMED_RUNS

    def _close(self) -> None:
        self._worker.close()
        self._fast.close()
        self._exact.close()
