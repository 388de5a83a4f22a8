"""Trends: what happened hour by hour, or shift by shift."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from itertools import pairwise

import numpy as np

from engines.errors import ConfigError
from pipeline.journal.selection import Selection

SCORE_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
LATENCY_QUANTILES = (0.5, 0.99)
MOST_INTERVALS = 2_000
# So many edges are refused rather than cut off.
_TOO_MANY = MOST_INTERVALS + 2
_AT_ONCE = 10_000
# The quantiles of more numbers than this would not look different, and take memory.
MOST_SAMPLES = 200_000


@dataclass
class Trend:
    """What happened in one interval.

    Attributes:
        since: its beginning, nanoseconds since 1970 (UTC).
        until: its end, which no longer belongs to it.
        verdicts: number of verdicts of each outcome.
        reasons: number of uninspected frames by reason.
        scores: quantiles of the score, in sigma, as `SCORE_QUANTILES` names them; empty without a score.
        latencies: quantiles of the latency in nanoseconds, as `LATENCY_QUANTILES` names them; empty without a verdict.
    """

    since: int
    until: int
    verdicts: dict[str, int] = field(default_factory=lambda: {"ok": 0, "ng": 0, "uninspected": 0})
    reasons: dict[str, int] = field(default_factory=dict)
    scores: tuple[float, ...] = ()
    latencies: tuple[float, ...] = ()

    @property
    def total(self) -> int:
        """Number of verdicts."""
        return sum(self.verdicts.values())

    def share(self, outcome: str) -> float | None:
        """Returns the share of an outcome among all verdicts; None without a verdict."""
        return self.verdicts[outcome] / self.total if self.total else None


def hours(since: datetime, until: datetime, every: int = 1) -> list[int]:
    """Returns the edges of intervals of some hours, beginning with the full hour; times are local without a zone."""
    first = since.astimezone().replace(minute=0, second=0, microsecond=0)
    edges, moment = [_ns(first)], first
    while moment < until.astimezone() and len(edges) < _TOO_MANY:
        moment = (moment + timedelta(hours=every)).astimezone()
        edges.append(_ns(moment))
    return edges


def shifts(since: datetime, until: datetime, begins: Sequence[time]) -> list[int]:
    """Returns the edges of shifts.

    Args:
        since: the shift at this time is the first one.
        until: the last shift begins before.
        begins: when the shifts of a day begin, local time, such as 06:00, 14:00 and 22:00.

    Raises:
        ConfigError: no beginning was given.
    """
    if not begins:
        raise ConfigError("give at least one time at which a shift begins")
    day = since.astimezone().date() - timedelta(days=1)
    edges: list[int] = []
    while not edges or edges[-1] < _ns(until):
        for begin in sorted(begins):
            edge = _ns(datetime.combine(day, begin).astimezone())
            if edge <= _ns(since):
                edges = [edge]
            elif edges and edges[-1] < _ns(until):
                edges.append(edge)
        day += timedelta(days=1)
        if len(edges) >= _TOO_MANY:
            break
    return edges


def read_trends(connection: sqlite3.Connection, selection: Selection, edges: Sequence[int]) -> list[Trend]:
    """Returns what happened between each edge and the next.

    Quantiles are exact up to 200,000 verdicts an interval, and beyond that those of the oldest of them.

    Args:
        connection: a reader's connection, with the people's file attached.
        selection: which verdicts; its times limit them further.
        edges: rising, nanoseconds since 1970 (UTC); see `hours` and `shifts`.

    Raises:
        ConfigError: there are too many or too few edges, or they do not rise.
    """
    check_edges(edges)
    return [_trend(connection, selection, *pair) for pair in pairwise(edges)]


def check_edges(edges: Sequence[int]) -> None:
    """Refuses edges that bound no intervals.

    Raises:
        ConfigError: there are too many or too few of them, or they do not rise.
    """
    if not 2 <= len(edges) <= MOST_INTERVALS + 1:
        raise ConfigError(f"give 2 to {MOST_INTERVALS + 1} edges; take longer intervals, or a shorter time")
    if any(later <= earlier for earlier, later in pairwise(edges)):
        raise ConfigError("the edges of intervals must rise")


def _trend(connection: sqlite3.Connection, selection: Selection, since: int, until: int) -> Trend:
    found = Trend(since, until)
    scores: list[float] = []
    latencies: list[int] = []
    for verdict, reason, score, latency in _facts(connection, selection, since, until):
        found.verdicts[verdict] = found.verdicts.get(verdict, 0) + 1
        if reason is not None:
            found.reasons[reason] = found.reasons.get(reason, 0) + 1
        if len(latencies) < MOST_SAMPLES:
            latencies.append(latency)
            if score is not None:
                scores.append(score)
    found.scores = quantiles(scores, SCORE_QUANTILES)
    found.latencies = quantiles(latencies, LATENCY_QUANTILES)
    return found


def _facts(
    connection: sqlite3.Connection, selection: Selection, since: int, until: int
) -> Iterator[tuple[str, str | None, float | None, int]]:
    chosen, values = selection.from_facts
    rows = connection.execute(
        f"SELECT f.verdict, f.reason, f.score, f.latency FROM {chosen} AND f.captured_at >= ? AND f.captured_at < ? "
        "ORDER BY f.captured_at",
        [*values, since, until],
    )
    while some := rows.fetchmany(_AT_ONCE):
        yield from some


def quantiles(values: Sequence[float], wanted: tuple[float, ...]) -> tuple[float, ...]:
    """Returns quantiles of values; none of no values."""
    return tuple(float(value) for value in np.quantile(values, wanted)) if values else ()


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000
