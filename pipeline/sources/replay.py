"""A data set's test split as a simulated stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calibration.dataset import open_test_split
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.frame import Frame
from pipeline.sources.source import Pacer, Source


class ReplaySource(Source):
    """Replays a test split once, shuffled with a seed, at a given rate.

    Each frame carries its ground truth as `label`, for display only: it never influences a verdict.

    Raises:
        DataError: the folder has no test split.
        ConfigError: the rate is 0 or less.
    """

    def __init__(
        self, camera: str, root: Path, fps: float | None = None, seed: int = 0, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(camera, clock)
        samples = open_test_split(root)
        self._samples = [samples[index] for index in np.random.default_rng(seed).permutation(len(samples))]
        self._pacer = Pacer(fps)

    def __len__(self) -> int:
        return len(self._samples)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields each test picture once; one that cannot be read has no image."""
        for sample in self._samples:
            if not self._pacer.wait(stop):
                return
            yield self._frame_from_file(sample.path, sample.part, sample.kind)
