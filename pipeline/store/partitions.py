"""The partitions of PostgreSQL's verdicts: one table for each day, made ahead and removed as a whole."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from engines.extras import require
from pipeline.store.store import first_line

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

_EPOCH = date(1970, 1, 1)
_PREFIX = "verdicts_"
_AHEAD_DAYS = 3
# Removing a day waits for its readers, and everybody else waits behind that.
_PATIENCE = "2s"
_PARTITION_LOCK = 0x74616B75
_ATTACHED = """SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'verdicts'::regclass"""


class Partitions:
    """Knows which days have a partition, makes them and removes them."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def has(self, days: set[int]) -> bool:
        """Returns whether all of these days have a partition, as far as is known."""
        return days <= self._known

    def forget(self) -> None:
        """Forgets what is known: another program may have changed it."""
        self._known.clear()

    def make(self, connection: Connection[Any], days: Iterable[int]) -> dict[int, str]:
        """Makes partitions for days that have none.

        Args:
            connection: in autocommit mode.
            days: counted from 1970-01-01.

        Returns:
            The days that cannot have one, and why: a table of that name is there, but is not part of `verdicts`, as
            after someone put the day aside.
        """
        homeless: dict[int, str] = {}
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_PARTITION_LOCK,))
            attached = self._attached(connection)
            for day in sorted(set(days) - attached):
                name = partition_name(day)
                if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() != (None,):
                    homeless[day] = f"the table {name} is not a partition of verdicts; attach or rename it"
                    continue
                # Attached, because a table that is made as a partition stops all readers of the others meanwhile.
                connection.execute(f"CREATE TABLE {name} (LIKE verdicts INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
                connection.execute(
                    f"ALTER TABLE verdicts ATTACH PARTITION {name} "
                    f"FOR VALUES FROM ('{_midnight(day)}') TO ('{_midnight(day + 1)}')"
                )
                attached.add(day)
        self._known = attached
        return homeless

    def tend(self, connection: Connection[Any], today: int, oldest: int | None) -> None:
        """Makes the partitions of today and the next days, and removes those before the oldest day to keep."""
        self.make(connection, range(today, today + _AHEAD_DAYS))
        psycopg = require("psycopg", "sql")
        for day in sorted(self._known):
            if oldest is None or day >= oldest:
                break
            try:
                with connection.transaction():
                    connection.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
                    connection.execute(f"DROP TABLE IF EXISTS {partition_name(day)}")
            except psycopg.Error as error:
                # Somebody reads it, or has built a view on it: no reason to store nothing new.
                if connection.broken:
                    raise
                log.warning("the day %s is not removed now (%s); it is tried again", _date(day), first_line(error))
                continue
            self._known.discard(day)

    def _attached(self, connection: Connection[Any]) -> set[int]:
        names = [str(row[0]) for row in connection.execute(_ATTACHED)]
        days = (_day(name) for name in names)
        return {day for day in days if day is not None}


def partition_name(day: int) -> str:
    """Returns the name of a day's partition."""
    return f"{_PREFIX}{_date(day):%Y%m%d}"


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def _midnight(day: int) -> str:
    return f"{_date(day).isoformat()} 00:00:00+00"


def _day(name: str) -> int | None:
    text = name.removeprefix(_PREFIX)
    try:
        found = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
    return (found - _EPOCH).days
