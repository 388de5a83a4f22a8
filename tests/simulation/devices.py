"""Devices that inspect: how long they take, what they return, and what goes wrong with them, drawn from a seed."""

from __future__ import annotations

import numpy as np

from engines.engine import Scores
from tests.simulation.world import MS, SECOND, Outcome, VirtualClock, VirtualEngine

# How far a fast score may lie from the exact one, and where good parts' scores lie, in sigma.
_BAND, _SPREAD = 0.4, 1.5
# A frame's number stands in its heatmap, small enough to be no defect; so many are remembered.
_STEP, _REMEMBERED = 2.0**-40, 1 << 14


class Truth:
    """What float32 says of each frame that is on its way, and what computed its score."""

    def __init__(self) -> None:
        self._scores = [0.0] * _REMEMBERED
        self._by = [("", "")] * _REMEMBERED
        self._count = 0

    def enter(self, exact: list[float], by: tuple[str, str]) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
        """Notes frames' exact scores and the engine and precision that score them, and returns their heatmaps."""
        heatmaps = np.zeros((len(exact), 2, 2), np.float32)
        for row, score in enumerate(exact):
            self._scores[self._count % _REMEMBERED], self._by[self._count % _REMEMBERED] = score, by
            heatmaps[row, 0, 0] = (self._count % _REMEMBERED) * _STEP
            self._count += 1
        return heatmaps

    def of(self, heatmap: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> tuple[float, str, str]:
        """Returns the exact score of the frame with this heatmap, and the engine and precision that scored it."""
        place = round(float(heatmap[0, 0]) / _STEP)
        return self._scores[place], *self._by[place]


class Device:
    """A processor or card. It may be slow for a while, stand still, or fail whatever it is given.

    Args:
        clock: tells the time.
        rng: draws.
        truth: what the scores should be.
        name: of the engine that runs on it.
        precision: its engine's; all but `f32` look again in float32 near the threshold.
        max_batch: the most frames in a batch.
    """

    def __init__(
        self, clock: VirtualClock, rng: np.random.Generator, truth: Truth, name: str, precision: str, max_batch: int
    ) -> None:
        self._clock, self._rng, self._truth = clock, rng, truth
        self.name, self._precision, self._max_batch = name, precision, max_batch
        self.single_ns = round(float(rng.uniform(3, 40)) * MS)
        # From a card on which a batch costs little more than one frame to a processor that gains nothing.
        self._share = float(rng.uniform(0.1, 1.0))
        self._slow = 1.0
        self._slow_until = self._stands_until = self._broken_until = 0
        self._threshold = 0.0

    def run_slowly(self, times: float, until: int) -> None:
        """Takes so many times longer until then."""
        self._slow, self._slow_until = times, until

    def stand_still(self, until: int) -> None:
        """Works on nothing until then; what is in it goes on after that."""
        self._stands_until = until

    def break_down(self, until: int) -> None:
        """Fails on every batch, and cannot be opened, until then."""
        self._broken_until = until

    @property
    def well_from(self) -> int:
        """When all that is wrong with it will be over."""
        return max(self._slow_until, self._stands_until, self._broken_until)

    def opening(self) -> int:
        """Draws how long it takes to open an engine on it now, in nanoseconds."""
        return max(0, self._stands_until - self._clock.now) + round(float(self._rng.uniform(0.2, 5)) * SECOND)

    def open(self, threshold: float) -> VirtualEngine:
        """Opens an engine on it that looks again near this threshold."""
        if self._clock.now < self._broken_until:
            raise RuntimeError("the virtual device is broken")
        sizes = {1 << power for power in range(self._max_batch.bit_length())}
        warm = {size: self._usual(size) for size in sizes if size <= self._max_batch}
        engine = VirtualEngine(self._clock, self._work, self._max_batch, warm, self.name, self._precision)
        engine.set_threshold(threshold)
        return engine

    def _usual(self, count: int) -> int:
        slow = self._slow if self._clock.now < self._slow_until else 1.0
        return round(self.single_ns * slow * (1 - self._share + self._share * count))

    def _work(self, engine: VirtualEngine, count: int) -> Outcome:
        rng, now = self._rng, self._clock.now
        taken = round(self._usual(count) * float(rng.lognormal(0, 0.05))) + max(0, self._stands_until - now)
        if now < self._broken_until:
            return Outcome(taken // 10, None)
        truth = rng.normal(1.0, _SPREAD, count).astype(np.float32)
        heatmaps = self._truth.enter(truth.tolist(), (self.name, self._precision))
        if self._precision == "f32":
            return Outcome(taken, Scores(truth, heatmaps, np.ones(count, np.bool_), np.zeros(count, np.bool_)))
        threshold = engine.threshold
        assert threshold is not None
        score = truth + rng.uniform(-_BAND, _BAND, count).astype(np.float32)
        near = np.abs(score - threshold) <= _BAND
        # Where time is short the second look is left out.
        rescored = near & (rng.random() < 0.9)
        score[rescored] = truth[rescored]
        return Outcome(taken, Scores(score, heatmaps, rescored | ~near, rescored, threshold))
