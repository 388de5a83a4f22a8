"""Searches for the highest rate at which a line still keeps its takt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.report.results import Run

_STEPS = 6
_RESOLUTION = 0.03


@dataclass(frozen=True)
class Limit:
    """The result of the search.

    Attributes:
        rate: the highest rate that the line kept, in frames per second; 0 for none.
        run: the figures at that rate.
        probes: all runs of the search.
    """

    rate: float
    run: Run | None
    probes: tuple[Run, ...]


def keeps(run: Run, takt_ms: float) -> bool:
    """Returns whether every frame was inspected and answered once, and 99 of 100 within the takt."""
    frames = sum(count for name, count in run.verdicts.items() if name != "twice")
    inspected = run.verdicts.get("ok", 0) + run.verdicts.get("ng", 0)
    return inspected == frames > 0 and not run.verdicts.get("twice") and run.latency_ms["p99"] <= takt_ms


def find_limit(measure: Callable[[float], Run], takt_ms: float, most: float) -> Limit:
    """Searches by bisection; a rate that fails is tried once more, because a hiccup of the machine is not a limit.

    Args:
        measure: measures at a rate, in frames per second.
        takt_ms: the takt in milliseconds.
        most: a rate that is certainly too high.
    """
    low, high = 0.0, most
    best: Run | None = None
    probes: list[Run] = []
    for _ in range(_STEPS):
        if high - low <= _RESOLUTION * most:
            break
        rate = (low + high) / 2
        for _attempt in range(2):
            probes.append(measure(rate))
            if keeps(probes[-1], takt_ms):
                low, best = rate, probes[-1]
                break
        else:
            high = rate
    return Limit(low, best, tuple(probes))
