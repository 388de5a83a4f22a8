"""A sequential test: tells when the mean of a stream of values has moved, and when it is back.

It is Page's two-sided CUSUM (1954) on the means of blocks of values that follow each other. Parts of one batch are like
each other, so the mean of a block counts as one value and not as more certain than one: the stated false-alarm rate
holds even if all values of a block are equal.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

BLOCK = 5
# In standard deviations of good parts. A shift of up to this is never told for sure, one of twice that is told soon.
ALLOWANCE = 0.75
_CLIP = 4.0
_LATEST = 25
_BACK = 6.0
_FURTHER, _FURTHER_BY = 2.0, 2.0
# Siegmund (1985): by so much a random walk oversteps its limit.
_OVERSHOOT = 1.166

T = TypeVar("T")
Kind = Literal["moved", "further", "returned"]


@dataclass(frozen=True)
class Change(Generic[T]):
    """What a test has to say.

    Attributes:
        kind: `moved`; `further`, twice as far as was said; or `returned`.
        level: how far the values lie from their mean now, in standard deviations.
        since: the mark of the value with which the change began.
    """

    kind: Kind
    level: float
    since: T


class Cusum(Generic[T]):
    """The test of one stream.

    Args:
        values_per_alarm: how many values pass on average until a false alarm.
        middle: sums up the latest values; the median if they may hold odd ones.

    Attributes:
        moved: 1 or -1 since it was told that the mean has moved up or down; otherwise 0.
        since: the mark of the value with which that began; None while it has not moved.
        count: number of values so far.
    """

    def __init__(self, values_per_alarm: float, middle: Callable[[Iterable[float]], float] = statistics.median) -> None:
        self._middle = middle
        self._limit = limit(values_per_alarm / BLOCK)
        self._block: list[float] = []
        self._first: T | None = None
        self._sums = {1: 0.0, -1: 0.0}
        self._begins: dict[int, T | None] = {1: None, -1: None}
        self._lengths = {1: 0, -1: 0}
        self._back = 0.0
        self._back_since: T | None = None
        self._latest: deque[float] = deque(maxlen=_LATEST)
        self._told = 0.0
        self.moved = self.count = 0
        self.since: T | None = None

    @property
    def level(self) -> float:
        """How far the latest values lie from the mean of good parts, in standard deviations."""
        return self._middle(self._latest) if self._latest else 0.0

    def add(self, value: float, mark: T) -> Change[T] | None:
        """Takes a value and says what has changed.

        Args:
            value: in standard deviations from the mean.
            mark: names the value.
        """
        self.count += 1
        self._latest.append(value)
        if not self._block:
            self._first = mark
        # One odd part must not raise an alarm.
        self._block.append(min(max(value, -_CLIP), _CLIP))
        if len(self._block) < BLOCK:
            return None
        mean = sum(self._block) / BLOCK
        self._block.clear()
        assert self._first is not None
        return self._watch(mean, self._first) if not self.moved else self._follow(self.moved * mean, self._first)

    def _watch(self, mean: float, first: T) -> Change[T] | None:
        for side in (1, -1):
            if self._sums[side] == 0.0:
                self._begins[side], self._lengths[side] = first, 0
            self._sums[side] = max(0.0, self._sums[side] + side * mean - ALLOWANCE)
            self._lengths[side] += BLOCK
            if self._sums[side] > self._limit:
                self.moved, self.since, self._back = side, self._begins[side], 0.0
                return self._tell("moved", min(_LATEST, self._lengths[side]))
        return None

    def _follow(self, outward: float, first: T) -> Change[T] | None:
        if self._back == 0.0:
            self._back_since = first
        self._back = max(0.0, self._back + ALLOWANCE - outward)
        if self._back > _BACK:
            since = self._back_since
            self.moved, self.since, self._told = 0, None, 0.0
            self._sums, self._begins = {1: 0.0, -1: 0.0}, {1: None, -1: None}
            assert since is not None
            return Change("returned", self.level, since)
        away, told = self.moved * self.level, self.moved * self._told
        if away > _FURTHER * told and away > told + _FURTHER_BY:
            return self._tell("further", _LATEST)
        return None

    def _tell(self, kind: Kind, count: int) -> Change[T]:
        latest = list(self._latest)[-count:]
        self._told = self._middle(latest)
        assert self.since is not None
        return Change(kind, self._told, self.since)


def limit(blocks_per_alarm: float) -> float:
    """Returns the limit of a two-sided CUSUM's sums, in standard deviations, for a wanted false-alarm rate.

    After Siegmund (1985), for normal values of standard deviation 1.

    Args:
        blocks_per_alarm: how many values pass on average until a false alarm on either side.
    """
    one_sided = 2 * max(2.0, blocks_per_alarm)
    low, high = 0.0, 100.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        b = 2 * ALLOWANCE * (middle + _OVERSHOOT)
        # (exp(b) - b - 1) / (2 k^2), with k = ALLOWANCE.
        if math.expm1(b) - b < one_sided * 2 * ALLOWANCE**2:
            low = middle
        else:
            high = middle
    return high
