"""Measurement windows, repeated until they agree, with the candidates taking turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.report.histogram import LatencyHistogram

AGREE, TOLERANCE, MOST = 3, 0.10, 10


@dataclass(frozen=True)
class Window:
    """A stretch of measurement.

    Attributes:
        seconds: how long images were counted.
        images: number of images in that time.
        latency: latencies of the images, or of the batches they were in.
    """

    seconds: float
    images: int
    latency: LatencyHistogram

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Measured:
    """The result of a candidate's windows.

    Attributes:
        windows: those that count: the three that agreed, or all if no three in a row did.
        steady: whether three in a row agreed.
        ratio: its rate over the baseline's in the same round: the median over the rounds.
    """

    windows: tuple[Window, ...]
    steady: bool
    ratio: float


def agree(windows: Sequence[Window]) -> bool:
    """Returns whether windows are within 10 % of each other, in throughput and in p99."""
    rates = [window.rate for window in windows]
    tails = [window.latency.quantile(99.0) for window in windows]
    return all(max(values) <= (1 + TOLERANCE) * min(values) for values in (rates, tails))


def take_turns(
    candidates: Sequence[Callable[[], Window]], baseline: int, report: Callable[[int, int], None]
) -> list[Measured]:
    """Measures windows of all candidates, A B A B, until each has three in a row that agree, or ten.

    A steady candidate is left out of further rounds, except the baseline, with which the others are compared.

    Args:
        candidates: each measures its next window.
        baseline: index of the candidate that ratios refer to.
        report: called with the number of candidates that are done, and of all.
    """
    taken: list[list[Window]] = [[] for _ in candidates]
    steady: dict[int, tuple[Window, ...]] = {}
    for _ in range(MOST):
        for index, measure in enumerate(candidates):
            if index in steady and (index != baseline or len(steady) == len(candidates)):
                continue
            taken[index].append(measure())
            last = tuple(taken[index][-AGREE:])
            if index not in steady and len(last) == AGREE and agree(last):
                steady[index] = last
            report(len(steady), len(candidates))
        if len(steady) == len(candidates):
            break
    return [
        Measured(
            windows=steady.get(index, tuple(taken[index])),
            steady=index in steady,
            ratio=_ratio(taken[index], taken[baseline]),
        )
        for index in range(len(candidates))
    ]


def _ratio(windows: Sequence[Window], baseline: Sequence[Window]) -> float:
    return float(np.median([one.rate / other.rate for one, other in zip(windows, baseline, strict=False)]))
