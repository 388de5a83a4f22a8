"""Windows of measurement: repeated until they agree, with the candidates taking turns."""

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
        images: how many were done in that time.
        latency: of what the images went through in.
    """

    seconds: float
    images: int
    latency: LatencyHistogram

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


@dataclass(frozen=True)
class Measured:
    """What a candidate's windows gave.

    Attributes:
        windows: those that count: the three that agreed, or all where no three in a row did.
        steady: whether three in a row agreed.
        ratio: the median over the rounds of its rate to the baseline's in the same round.
    """

    windows: tuple[Window, ...]
    steady: bool
    ratio: float


def agree(windows: Sequence[Window]) -> bool:
    """Tells whether windows lie within 10 % of each other, in throughput and in p99."""
    rates = [window.rate for window in windows]
    tails = [window.latency.quantile(99.0) for window in windows]
    return all(max(values) <= (1 + TOLERANCE) * min(values) for values in (rates, tails))


def take_turns(
    candidates: Sequence[Callable[[], Window]], baseline: int, report: Callable[[int, int], None]
) -> list[Measured]:
    """Measures windows of all candidates, A B A B, until each had three in a row that agree, or ten.

    A candidate that is steady is left out of further rounds, but for the baseline, which the others are held against.

    Args:
        candidates: each measures its next window.
        baseline: index of the one that ratios refer to.
        report: told how many candidates are done, of how many.
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
