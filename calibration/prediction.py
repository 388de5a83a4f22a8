"""How many of the next good parts will be rejected, judged by how many of those known are."""

from __future__ import annotations

import math

CONFIDENCE = 0.99
NEXT_PARTS = 100


def rejected_interval(rejected: int, total: int) -> tuple[float, float]:
    """Returns the 99 % prediction interval of the share that is rejected among the next 100 good parts.

    It covers both that few parts tell the rate only roughly and that 100 parts show it only roughly. The share is
    beta-binomial, with Jeffreys' prior (Brown, Cai and DasGupta 2001). 99 and not 95 %, because an interval that only
    counts knows nothing of how tomorrow's parts differ from these.

    Args:
        rejected: how many of the known good parts are rejected.
        total: how many good parts are known.
    """
    outside = (1 - CONFIDENCE) / 2
    cumulated = 0.0
    bounds: list[float] = []
    first, second = rejected + 0.5, total - rejected + 0.5
    for count in range(NEXT_PARTS + 1):
        cumulated += _beta_binomial(count, NEXT_PARTS, first, second)
        while len(bounds) < 2 and cumulated >= (outside, 1 - outside)[len(bounds)]:
            bounds.append(count / NEXT_PARTS)
    low, high = [*bounds, 1.0, 1.0][:2]
    return low, high


def expected_share(rejected: int, total: int) -> float:
    """Returns the share of good parts that is expected to be rejected in the long run (Jeffreys' prior)."""
    return (rejected + 0.5) / (total + 1)


def _beta_binomial(count: int, total: int, first: float, second: float) -> float:
    """Returns how likely `count` of `total` are, where the share is beta-distributed."""
    ways = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    return math.exp(ways + _log_beta(count + first, total - count + second) - _log_beta(first, second))


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)
