"""History and trends of one line from a store, where its journal cannot be read: without pictures, labels as stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from engines.closing import Closing
from pipeline.journal.history import MOST_COUNTED, Count, History, Page
from pipeline.journal.labels import VerdictKey
from pipeline.journal.search import Found, Key
from pipeline.journal.selection import Selection
from pipeline.journal.trends import (
    LATENCY_QUANTILES,
    MOST_SAMPLES,
    SCORE_QUANTILES,
    Trend,
    check_edges,
    quantiles,
)
from pipeline.store.reader import StoreReader
from pipeline.store.rows import COLUMNS, verdict_of

_QUOTED = ", ".join(f'"{name}"' for name in COLUMNS)
_SELECT = f"SELECT {_QUOTED} FROM verdicts"
_MOST_PAGE = 1_000
_Condition = tuple[str, list[Any]]


@dataclass(frozen=True)
class StorePlace:
    """Where a store has a line's verdicts.

    Attributes:
        address: of the store.
        line: the line's name.
    """

    address: str
    line: str


HistoryPlace = Path | StorePlace


def open_history(place: HistoryPlace) -> History | StoreHistory:
    """Opens the history of a line: that of its journal, or what a store has of it.

    Raises:
        TaktlineError: it cannot be read.
    """
    return StoreHistory(place) if isinstance(place, StorePlace) else History(place)


class StoreHistory(Closing):
    """What `History` offers, from a store. May be used by one thread at a time.

    Args:
        place: where the verdicts are.

    Raises:
        TaktlineError: the store cannot be read.
    """

    def __init__(self, place: StorePlace) -> None:
        self._line = place.line
        self._reader = StoreReader(place.address)
        # PostgreSQL skips whole days by this column, in microseconds; SQLite has its index on the other.
        moment = "captured_at" if self._reader.is_postgres else "captured_ns"
        self._order = (moment, "camera", "epoch", "sequence")

    def page(self, selection: Selection, after: Key | None = None, size: int = 50) -> Page:
        """Returns the newest selected verdicts, or those that follow an earlier page; see `History.page`."""
        size = min(max(size, 1), _MOST_PAGE)
        where, values = self._chosen(selection, after, "<")
        rows = self._reader.ask(f"{_SELECT} WHERE {where} {self._ordered('DESC')} LIMIT ?", [*values, size])
        found = tuple(Found(verdict_of(row), None, None) for row in rows)
        return Page(found, Key.of(found[-1].verdict) if len(found) == size else None, 0)

    def all(self, selection: Selection) -> Iterator[Found]:
        """Yields all selected verdicts, newest first."""
        after: Key | None = None
        while True:
            page = self.page(selection, after, _MOST_PAGE)
            yield from page.found
            if (after := page.after) is None:
                return

    def count(self, selection: Selection, most: int = MOST_COUNTED) -> Count:
        """Counts the selected verdicts, up to a limit."""
        where, values = self._chosen(selection)
        statement = f"SELECT count(*) FROM (SELECT 1 FROM verdicts WHERE {where} LIMIT ?) AS chosen"
        number = int(self._reader.ask(statement, [*values, most + 1])[0][0])
        return Count(min(number, most), number > most)

    def neighbours(self, selection: Selection, key: Key) -> tuple[Key | None, Key | None]:
        """Returns the keys of the next newer and the next older selected verdict; None where there is none."""
        return self._next(selection, key, ">", "ASC"), self._next(selection, key, "<", "DESC")

    def at(self, key: Key) -> Found | None:
        """Returns the verdict with a key; None if the store does not hold it."""
        order = " AND ".join(f"{column} = {self._moment if not place else '?'}"
                             for place, column in enumerate(self._order))  # fmt: skip
        values = (self._line, self._value(key.captured_at), *key[1:])
        rows = self._reader.ask(f"{_SELECT} WHERE line = ? AND {order}", values)
        return Found(verdict_of(rows[0]), None, None) if rows else None

    def picture(self, verdict: VerdictKey) -> bytes | None:
        """Returns None: a store has no pictures."""
        del verdict
        return None

    def trends(self, selection: Selection, edges: list[int]) -> list[Trend]:
        """Returns what happened in each of some intervals; see `read_trends`."""
        check_edges(edges)
        return [self._trend(selection, *pair) for pair in pairwise(edges)]

    def close(self) -> None:
        """Closes the connection."""
        self._reader.close()

    def _trend(self, selection: Selection, since: int, until: int) -> Trend:
        found = Trend(since, until)
        chosen, values = self._chosen(selection)
        within, more = self._between(since, until)
        where, values = f"{chosen} AND {within}", [*values, *more]
        grouped = f"SELECT verdict, reason, count(*) FROM verdicts WHERE {where} GROUP BY verdict, reason"
        for verdict, reason, count in self._reader.ask(grouped, values):
            found.verdicts[verdict] += count
            if reason is not None:
                found.reasons[reason] = count
        samples = self._reader.ask(
            f"SELECT score, latency_ns FROM verdicts WHERE {where} {self._ordered('ASC')} LIMIT ?",
            [*values, MOST_SAMPLES],
        )
        found.scores = quantiles([score for score, _ in samples if score is not None], SCORE_QUANTILES)
        found.latencies = quantiles([latency for _, latency in samples], LATENCY_QUANTILES)
        return found

    def _next(self, selection: Selection, key: Key, compare: str, order: str) -> Key | None:
        where, values = self._chosen(selection, key, compare)
        columns = "captured_ns, camera, epoch, sequence"
        rows = self._reader.ask(f"SELECT {columns} FROM verdicts WHERE {where} {self._ordered(order)} LIMIT 1", values)
        return Key(*rows[0]) if rows else None

    def _chosen(self, selection: Selection, beside: Key | None = None, compare: str = "<") -> _Condition:
        """Returns a condition and its values: what is selected, and before or after a key in time."""
        conditions, values = ["line = ?"], list[Any]([self._line])
        for column, wanted in (
            ("camera", selection.cameras), ("verdict", selection.verdicts), ("reason", selection.reasons),
            ("label", selection.labels),
        ):  # fmt: skip
            if wanted:
                conditions.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        for condition, limit in (("score >= ?", selection.lowest), ("score <= ?", selection.highest)):
            if limit is not None:
                conditions.append(condition)
                values.append(limit)
        if selection.part is not None:
            begins = selection.part.endswith("*")
            conditions.append("substr(part, 1, ?) = ?" if begins else "part = ?")
            values += [len(selection.part) - 1, selection.part[:-1]] if begins else [selection.part]
        if selection.unlabelled:
            conditions.append("label IS NULL")
        within, more = self._between(selection.since, selection.until)
        conditions.append(within)
        values += more
        if beside is not None:
            # The first column also by itself, so that the search begins there.
            moment = self._order[0]
            conditions.append(f"{moment} {compare}= {self._moment} AND ({', '.join(self._order)}) {compare} "
                              f"({self._moment}, ?, ?, ?)")  # fmt: skip
            values += [self._value(beside.captured_at), self._value(beside.captured_at), *beside[1:]]
        return " AND ".join(conditions), values

    def _between(self, since: int | None, until: int | None) -> _Condition:
        conditions, values = ["1 = 1"], list[Any]()
        for compare, limit in ((">=", since), ("<", until)):
            if limit is not None:
                conditions.append(f"captured_ns {compare} ?")
                values.append(limit)
                if self._reader.is_postgres:
                    # Whole microseconds, so the moment itself belongs to both.
                    conditions.append(f"captured_at {compare[0]}= {self._moment}")
                    values.append(self._value(limit))
        return " AND ".join(conditions), values

    @property
    def _moment(self) -> str:
        """How a moment is written in a statement."""
        return "('epoch'::timestamptz + ? * interval '1 microsecond')" if self._reader.is_postgres else "?"

    def _value(self, captured_ns: int) -> int:
        return captured_ns // 1000 if self._reader.is_postgres else captured_ns

    def _ordered(self, order: str) -> str:
        return "ORDER BY " + ", ".join(f"{column} {order}" for column in self._order)
