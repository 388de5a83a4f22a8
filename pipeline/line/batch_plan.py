"""Decides which waiting frames form the next batch, when, and which to give up. No threads, no clock."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

# A size is preferred to a smaller one only if it is that much faster: a smaller batch answers sooner.
_WORTH_WAITING = 1.03
_MOST_LEAD_NS = 1_000_000
_LEAD_SHARE = 0.1
_RATHER = 0.5
_FRESH_SHARE = 0.125
_BACKLOG = 64


@dataclass(frozen=True)
class Costs:
    """What batches cost, in nanoseconds.

    Attributes:
        typical: the engine's median time for a batch, by size from 0.
        sure: the time that 19 of 20 batches do not exceed, by size from 0.
        jitter: ratios of recent batches' times to the typical time of their size, ascending.
        prepare: time to decode and resize as many frames as there are decoders.
        decoders: how many frames are decoded at once.
        tail: from a batch's scores to its verdicts.
        worth: what a nanosecond is worth: the frames answered in time in each of late; 0 where that is not known.
    """

    typical: tuple[int, ...]
    sure: tuple[int, ...]
    jitter: tuple[float, ...] = (1.0,)
    prepare: int = 0
    decoders: int = 1
    tail: int = 0
    worth: float = 0.0

    @property
    def max_batch(self) -> int:
        """The largest batch size."""
        return len(self.typical) - 1

    def preparing(self, size: int) -> int:
        """Returns how many nanoseconds it takes to prepare a batch of some size for the engine."""
        return self.prepare * -(-size // self.decoders)

    def chance(self, size: int, nanoseconds: int) -> float:
        """Returns the share of batches of this size that the engine finishes within this time."""
        return bisect_right(self.jitter, nanoseconds / max(1, self.typical[size])) / len(self.jitter)

    @cached_property
    def preferred(self) -> tuple[int, ...]:
        """All sizes, the one with the most frames per second first."""

        def rank(size: int) -> tuple[int, int]:
            rate = size / max(1, self.typical[size])
            return -round(math.log(rate) / math.log(_WORTH_WAITING)), size

        return tuple(sorted(range(1, self.max_batch + 1), key=rank))

    @cached_property
    def price(self) -> float:
        """The frames that a nanosecond of the engine's time costs."""
        return self.worth or max(size / max(1, self.typical[size]) for size in range(1, self.max_batch + 1))

    @cached_property
    def backlog(self) -> tuple[int, ...]:
        """The least time to serve a number of frames, by number from 0."""
        least = [0]
        for count in range(1, _BACKLOG + 1):
            sizes = range(1, min(count, self.max_batch) + 1)
            least.append(min(self.sure[size] + least[count - size] for size in sizes))
        return tuple(least)

    def serving(self, count: int) -> int:
        """Returns the least time to serve `count` frames."""
        whole, rest = divmod(count, _BACKLOG)
        return whole * self.backlog[-1] + self.backlog[rest]

    def served(self, nanoseconds: int) -> int:
        """Returns how many frames can be served in some time."""
        if nanoseconds <= 0 or not self.backlog[-1]:
            return 0 if nanoseconds < 0 else _BACKLOG
        whole, rest = divmod(nanoseconds, self.backlog[-1])
        return whole * _BACKLOG + bisect_right(self.backlog, rest) - 1


class EngineState(NamedTuple):
    """The engine's state.

    Attributes:
        idle: whether it has no batch.
        free: when it will probably have finished its batches, monotonic nanoseconds.
        surely_free: when it will almost certainly have finished them.
        since: when its last batch was finished; 0 for never.
    """

    idle: bool
    free: int
    surely_free: int
    since: int = 0


class Plan(NamedTuple):
    """What to do with the waiting frames.

    Attributes:
        size: frames of the next batch; 0 for no batch yet.
        hopeless_before: frames with an earlier deadline are given up.
        surplus: how many of the oldest remaining frames are given up too.
        again: when to plan again if nothing changes before, monotonic nanoseconds; None if not needed.
    """

    size: int
    hopeless_before: int = 0
    surplus: int = 0
    again: int | None = None


def plan_batch(
    now: int, deadlines: Sequence[int], newest: tuple[int, int] | None, engine: EngineState, costs: Costs
) -> Plan:
    """Decides what to do with the waiting frames.

    No batch is closed long before the engine can take it: until then newer frames may come. Where all frames can be
    answered in time, the oldest come first, in the size with the most frames a second that lets all of them. Where not
    all can, the line is overloaded: of the newest frames as many are taken as will probably be answered in time, less
    what the time that they take would bring on average. Of the others only those are kept that can still be answered.

    Args:
        now: monotonic nanoseconds.
        deadlines: of the waiting frames, ascending, monotonic nanoseconds; empty if none waits.
        newest: capture time and deadline of the newest one; None if frames have no deadlines.
        engine: the engine's state.
        costs: what batches cost.
    """
    count = len(deadlines)
    if not count:
        return Plan(0)
    hopeless = max(now + costs.preparing(1), engine.free) + costs.typical[1] + costs.tail
    first = next((place for place, deadline in enumerate(deadlines) if deadline >= hopeless), count)
    if first == count:
        return _try_anyway(now, newest, engine, costs, hopeless)
    earliest = engine.free - _most_lead(costs)
    if not engine.idle and now < earliest:
        return Plan(0, hopeless, 0, earliest)
    waiting = deadlines[first:] if first else deadlines
    plan = _all_in_time(now, waiting, hopeless, engine, costs) or _overloaded(now, waiting, hopeless, engine, costs)
    opens = _opens(plan.size, waiting, engine, costs)
    if not engine.idle and now < opens:
        return Plan(0, hopeless, 0, opens)
    return plan


def _try_anyway(now: int, newest: tuple[int, int] | None, engine: EngineState, costs: Costs, hopeless: int) -> Plan:
    """Tries a fresh frame if even a batch of one seems slower than the takt: the engine may have become faster."""
    if newest is None:
        return Plan(0, hopeless)
    captured, deadline = newest
    takt = deadline - captured
    never = takt < costs.preparing(1) + costs.typical[1] + costs.tail
    # If no fresh frame finds the engine idle, an older one at least shows how fast it is now.
    fresh = now - captured <= _FRESH_SHARE * takt or now - engine.since > takt
    if never and engine.idle and fresh:
        return Plan(1, deadline)
    return Plan(0, hopeless)


def _most_lead(costs: Costs) -> int:
    return costs.preparing(costs.max_batch) + _MOST_LEAD_NS


def _opens(size: int, waiting: Sequence[int], engine: EngineState, costs: Costs) -> int:
    """When a batch of a size is closed at the earliest."""
    prepare = costs.preparing(size)
    if size == costs.preferred[0] and waiting[-size] >= engine.surely_free + costs.sure[size] + costs.tail:
        # It cannot get better, so the engine should not wait for it.
        return engine.free - prepare - min(_MOST_LEAD_NS, int(_LEAD_SHARE * costs.typical[size]))
    # Every moment may bring a newer frame. Where preparing a batch takes less time than the engine may take longer than
    # usual, it is worth waiting for that.
    return max(engine.free - prepare, engine.surely_free - 2 * prepare)


def _all_in_time(now: int, waiting: Sequence[int], hopeless: int, engine: EngineState, costs: Costs) -> Plan | None:
    """Takes the oldest, where all can be answered in time."""
    for size in costs.preferred:
        if size <= len(waiting):
            start = max(now + costs.preparing(size), engine.surely_free)
            if _all_fit(waiting, size, start + costs.sure[size] + costs.tail, costs):
                return Plan(size, hopeless)
    return None


def _all_fit(waiting: Sequence[int], size: int, finished: int, costs: Costs) -> bool:
    """Returns whether all can be answered in time if the oldest go first, in a batch of this size."""
    if waiting[0] < finished:
        return False
    return all(waiting[place] >= finished + costs.serving(place - size + 1) for place in range(size, len(waiting)))


def _overloaded(now: int, waiting: Sequence[int], hopeless: int, engine: EngineState, costs: Costs) -> Plan:
    """Takes as many of the newest as promises the most, and keeps what can be answered after them."""
    chosen = chosen_start = 0
    best = 0.0
    for size in range(1, min(len(waiting), costs.max_batch) + 1):
        start = max(now + costs.preparing(size), engine.free)
        chances = [costs.chance(size, deadline - start - costs.tail) for deadline in waiting[-size:]]
        promise = sum(chances) - costs.price * costs.typical[size]
        if chances[0] >= _RATHER and (not chosen or promise > best):
            chosen, chosen_start, best = size, start, promise
    if not chosen:
        # An idle engine tries the newest anyway: it may have become steadier.
        return Plan(1, waiting[-1]) if engine.idle else Plan(0, hopeless)
    finished = chosen_start + costs.typical[chosen] + costs.tail
    kept = [deadline for deadline in waiting if deadline >= min(finished, waiting[-chosen])]
    surplus = 0
    for place in range(chosen, len(kept)):
        surplus = max(surplus, place - chosen + 1 - costs.served(kept[place] - finished))
    return Plan(chosen, min(finished, waiting[-chosen]), min(surplus, len(kept) - chosen))
