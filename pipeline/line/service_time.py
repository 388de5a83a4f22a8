"""Estimates what a batch of each size costs, from warm-up on and while the line runs."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from pipeline.line.batch_plan import Costs

N = TypeVar("N", int, float)

_REMEMBERED = 32
_FEW = 8
_FORGOTTEN_AFTER = 512
_SURE = 0.95
# Larger sizes that were never tried are assumed to be slightly better than proportional, so that they get tried.
_UNTRIED_EXPONENT = 0.9
_NEGLIGIBLE = 0.02
# How much longer than during warm-up a batch may take until more is known.
_UNKNOWN_JITTER = 1.1
_NOTHING: Mapping[int, int] = {}


def quantile(values: Iterable[N], share: float) -> N:
    """Returns the value that a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Sent(NamedTuple):
    """A batch in flight: its frames, when it was sent, and what the engine that it was sent to took while warming."""

    size: int
    at: int
    engine: Mapping[int, int]


def _nothing() -> Mapping[int, int]:
    return _NOTHING


class ServiceTime:
    """Estimates service times by batch size, and when the engine will be free.

    A batch occupies the engine from when it was sent, or from the end of the batch before it, until it is done. Each
    size has two estimates: the median, and one that 19 of 20 batches keep. A size that was not seen lately is judged
    by how it did while warming, times what has changed since for the others. Where another engine takes over, after a
    deploy or a fault, all of this starts anew.

    Args:
        max_batch: the largest size.
        warm: returns the nanoseconds that a batch of some sizes took while the engine that runs now warmed up, which
            may be empty. Another engine has a mapping of its own.
        decoders: how many frames are decoded at once.

    Attributes:
        last_done: when the last batch was done, monotonic nanoseconds; 0 for never.
    """

    def __init__(self, max_batch: int, warm: Callable[[], Mapping[int, int]] = _nothing, decoders: int = 1) -> None:
        self._max_batch, self._decoders = max_batch, decoders
        self._lock = threading.Lock()
        self._in_flight: OrderedDict[int, _Sent] = OrderedDict()
        self._prepares: deque[int] = deque(maxlen=_REMEMBERED)
        self._tails: deque[int] = deque(maxlen=_REMEMBERED)
        self._prepare = self._tail = self.last_done = self._taken = 0
        self._current, self._source = warm, warm()
        self._costs: Costs | None = None
        self._learn_anew()

    @property
    def idle(self) -> bool:
        """Whether no batch is in the engine."""
        return not self._in_flight

    def sent(self, slot: int, size: int, now: int) -> None:
        """Notes that a batch was sent to the engine."""
        with self._lock:
            self._in_flight[slot] = _Sent(size, now, self._source)

    def done(self, slot: int, now: int, failed: bool = False) -> bool:
        """Notes that a batch came back, and returns whether that slot had one; a failed batch is not counted."""
        with self._lock:
            found = self._in_flight.pop(slot, None)
            if found is None:
                return False
            self._look_for_another()
            taken = max(1, now - max(found.at, self.last_done))
            # One that comes back with the one before it may have been held back, so that they come in order.
            together = taken <= _NEGLIGIBLE * self._taken
            # What was sent to another engine says nothing about this one.
            if not (failed or together) and found.engine is self._source:
                self._note(found.size, taken)
            self.last_done, self._taken = now, max(taken, self._taken if together else 0)
            return True

    def prepared(self, size: int, nanoseconds: int) -> None:
        """Notes how long it took to decode and resize a batch."""
        with self._lock:
            self._prepares.append(nanoseconds // -(-size // self._decoders))
            self._prepare = self._moved(self._prepare, round(quantile(self._prepares, _SURE)))

    def decided(self, nanoseconds: int) -> None:
        """Notes how long it took from a batch's scores to its verdicts."""
        with self._lock:
            self._tails.append(nanoseconds)
            self._tail = self._moved(self._tail, round(quantile(self._tails, _SURE)))

    def costs(self) -> Costs:
        """Returns the current estimates."""
        with self._lock:
            self._look_for_another()
            if self._costs is None:
                sizes = range(1, self._max_batch + 1)
                typical = (0, *(round(self._estimate(size, 0.5)) for size in sizes))
                sure = (0, *(round(self._estimate(size, _SURE)) for size in sizes))
                jitter = tuple(sorted(self._padded(self._jitter)))
                self._costs = Costs(typical, sure, jitter, self._prepare, self._decoders, self._tail)
            return self._costs

    def measured(self, size: int) -> int | None:
        """Returns the median nanoseconds for a batch of some size; None until enough batches were seen."""
        with self._lock:
            return round(self._estimate(size, 0.5)) if self._batches >= _FEW else None

    def free_at(self, now: int, sure: bool = False) -> int:
        """Returns when the engine will have finished its batches: `now` if it has none."""
        costs = self.costs()
        with self._lock:
            free = self.last_done
            for place, sent in enumerate(self._in_flight.values()):
                free = max(free, sent.at) + (costs.sure[sent.size] if sure else costs.typical[sent.size])
                if not place:
                    free = max(free, now)
        return max(free, now)

    def _look_for_another(self) -> None:
        warm = self._current()
        if warm is not self._source:
            self._source = warm
            self._learn_anew()

    def _learn_anew(self) -> None:
        self._warm = {size: max(1, taken) for size, taken in sorted(self._source.items())}
        self._times: dict[int, deque[int]] = {}
        self._seen: dict[int, int] = {}
        self._ratios: deque[float] = deque(maxlen=_REMEMBERED)
        self._jitter: deque[float] = deque(maxlen=_REMEMBERED)
        self._batches = 0
        self._costs = None

    def _note(self, size: int, taken: int) -> None:
        self._batches += 1
        reference, usual = self._reference(size), self._estimate(size, 0.5)
        if usual:
            self._jitter.append(taken / usual)
        times = self._times.setdefault(size, deque(maxlen=_REMEMBERED))
        times.append(taken)
        self._seen[size] = self._batches
        if self._warm and reference:
            self._ratios.append(taken / reference)
        if not self._batches % _FORGOTTEN_AFTER:
            for old in [old for old, seen in self._seen.items() if seen + _FORGOTTEN_AFTER < self._batches]:
                del self._seen[old], self._times[old]
        if self._costs is not None:
            before = self._costs.typical[size], self._costs.sure[size]
            after = self._estimate(size, 0.5), self._estimate(size, _SURE)
            if any(abs(new - old) > _NEGLIGIBLE * old for new, old in zip(after, before, strict=True)):
                self._costs = None

    def _moved(self, before: int, after: int) -> int:
        if abs(after - before) <= _NEGLIGIBLE * before:
            return before
        self._costs = None
        return after

    def _estimate(self, size: int, share: float) -> float:
        times = self._times.get(size)
        if times is not None and (len(times) >= _FEW or not self._warm):
            return quantile(times, share)
        ratio = quantile(self._padded(self._ratios), share)
        if share > 0.5 and len(self._ratios) < _FEW:
            ratio = max(ratio, _UNKNOWN_JITTER)
        expected = self._reference(size) * ratio
        return expected if times is None else max(expected if share > 0.5 else 0.0, quantile(times, share))

    @staticmethod
    def _padded(ratios: deque[float]) -> list[float]:
        # One stalled batch does not represent the machine.
        return [*ratios, *[1.0] * (_FEW - len(ratios))]

    def _reference(self, size: int) -> float:
        """Returns a size's time during warm-up, or an estimate from the sizes seen; 0 if nothing is known."""
        known: Mapping[int, float] = self._warm or {
            seen: quantile(times, 0.5) for seen, times in sorted(self._times.items())
        }
        if not known:
            return 0.0
        sizes = list(known)
        place = bisect_left(sizes, size)
        if place < len(sizes) and (sizes[place] == size or place == 0):
            return known[sizes[place]]
        low = sizes[place - 1]
        if place == len(sizes) or not self._warm:
            return known[low] * math.pow(size / low, _UNTRIED_EXPONENT)
        high = sizes[place]
        return known[low] + (known[high] - known[low]) * (size - low) / (high - low)
