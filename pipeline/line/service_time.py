"""Estimates what a batch of each size costs, from warm-up on and while the line runs."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from pipeline.line.batch_plan import Costs

N = TypeVar("N", int, float)

_REMEMBERED = 32
# So many times count what was measured while warming, and so many what is only guessed from other sizes.
_FEW, _GUESS = 8, 2
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
    """A batch in flight: its frames, when it was sent, to which engine, and when its frames are due.

    An engine is known by what it took while it warmed up.
    """

    size: int
    at: int
    engine: Mapping[int, int]
    deadlines: Sequence[int]


def _nothing() -> Mapping[int, int]:
    return _NOTHING


def _padded(ratios: Iterable[float]) -> list[float]:
    # One batch that stalled must not speak for the machine.
    found = list(ratios)
    return [*found, *[1.0] * (_FEW - len(found))]


class ServiceTime:
    """Estimates service times by batch size, and when the engine will be free.

    A batch occupies the engine from when it was sent, or from the end of the batch before it, until it is done. Each
    size has two estimates: the median, and one that 19 of 20 batches keep. What a size took while warming counts as
    much as eight batches, times what has changed since for all sizes; what a size took that was not tried while warming
    is guessed from those around it, until a few batches are seen. Where another engine takes over, after a deploy or a
    fault, all of this starts anew.

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
        # When batches were done, and how many of their frames in time.
        self._in_time: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._prepare = self._tail = self.last_done = self._taken = 0
        self._worth = 0.0
        self._current, self._source = warm, warm()
        self._costs: Costs | None = None
        self._learn_anew()

    @property
    def idle(self) -> bool:
        """Whether no batch is in the engine."""
        return not self._in_flight

    def sent(self, slot: int, size: int, now: int, deadlines: Sequence[int] = ()) -> None:
        """Notes that a batch goes to the engine, and when its frames are due."""
        with self._lock:
            self._in_flight[slot] = _Sent(size, now, self._source, deadlines)

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
            late = found.size if failed else sum(due < now + self._tail for due in found.deadlines)
            self._in_time.append((now, found.size - late))
            self._worth = self._moved(self._worth, self._worth_now())
            return True

    def prepared(self, size: int, nanoseconds: int) -> None:
        """Notes how long it took to decode and resize a batch."""
        with self._lock:
            self._prepares.append(nanoseconds // -(-size // self._decoders))
            self._prepare = round(self._moved(self._prepare, quantile(self._prepares, _SURE)))

    def decided(self, nanoseconds: int) -> None:
        """Notes how long it took from a batch's scores to its verdicts."""
        with self._lock:
            self._tails.append(nanoseconds)
            self._tail = round(self._moved(self._tail, quantile(self._tails, _SURE)))

    def costs(self) -> Costs:
        """Returns the current estimates."""
        with self._lock:
            self._look_for_another()
            if self._costs is None:
                sizes = range(1, self._max_batch + 1)
                typical = (0, *(round(self._estimate(size, 0.5)) for size in sizes))
                sure = (0, *(round(self._estimate(size, _SURE)) for size in sizes))
                jitter = tuple(sorted(_padded(self._jitter)))
                self._costs = Costs(typical, sure, jitter, self._prepare, self._decoders, self._tail, self._worth)
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
        # What sizes took that were not tried while warming, as if the machine were as fast as then.
        self._learnt: dict[int, float] = {}
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
        if size in self._warm or (size in self._learnt and len(times) > _FEW):
            self._ratios.append(taken / reference)
        elif self._warm and len(times) >= _GUESS:
            self._learnt[size] = self._estimate(size, 0.5) / quantile(_padded(self._ratios), 0.5)
        if not self._batches % _FORGOTTEN_AFTER:
            for old in [old for old, seen in self._seen.items() if seen + _FORGOTTEN_AFTER < self._batches]:
                del self._seen[old], self._times[old]
                self._learnt.pop(old, None)
        if self._costs is not None:
            before = self._costs.typical[size], self._costs.sure[size]
            after = self._estimate(size, 0.5), self._estimate(size, _SURE)
            if any(abs(new - old) > _NEGLIGIBLE * old for new, old in zip(after, before, strict=True)):
                self._costs = None

    def _worth_now(self) -> float:
        """Returns the frames answered in time per nanosecond, lately."""
        if len(self._in_time) <= _FEW:
            return 0.0
        (begin, _), *others = self._in_time
        return sum(count for _, count in others) / max(1, others[-1][0] - begin)

    def _moved(self, before: float, after: float) -> float:
        if abs(after - before) <= _NEGLIGIBLE * before:
            return before
        self._costs = None
        return after

    def _estimate(self, size: int, share: float) -> float:
        times: Sequence[float] = self._times.get(size, deque())
        if times and not self._warm:
            return quantile(times, share)
        ratio = quantile(_padded(self._ratios), share)
        if share > 0.5 and len(self._ratios) < _FEW:
            ratio = max(ratio, _UNKNOWN_JITTER)
        weight = _FEW if size in self._warm or len(times) >= _FEW else _GUESS
        return quantile([*times, *[self._reference(size) * ratio] * weight], share)

    def _reference(self, size: int) -> float:
        """What a size took while warming, or what is to be expected from the sizes that were seen; 0 for no idea."""
        known: Mapping[int, float] = self._warm | self._learnt or {
            seen: quantile(times, 0.5) for seen, times in self._times.items()
        }
        if not known:
            return 0.0
        sizes = sorted(known)
        place = bisect_left(sizes, size)
        if place < len(sizes) and (sizes[place] == size or place == 0):
            return known[sizes[place]]
        low = sizes[place - 1]
        if place == len(sizes) or not self._warm:
            return known[low] * math.pow(size / low, _UNTRIED_EXPONENT)
        high = sizes[place]
        return known[low] + (known[high] - known[low]) * (size - low) / (high - low)
