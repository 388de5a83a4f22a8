"""The audit: who ordered a line to do what, and what came of it."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.closing import Closing
from pipeline.journal.file import transaction
from pipeline.journal.people import PeopleFile, checked_name
from pipeline.protocol.topics import safe_text

_MOST_ORDERS = 100_000
_COLUMNS = "id, at, by, role, name, arguments, outcome"


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """One order in the audit.

    Attributes:
        number: counts the orders; a later one has a higher number.
        at: when, nanoseconds since 1970 (UTC).
        by: who gave it.
        role: in which role, such as `engineer`.
        order: what to do, such as `deploy`.
        arguments: its arguments.
        outcome: `done`, or why it was refused or failed.
    """

    number: int
    at: int
    by: str
    role: str
    order: str
    arguments: dict[str, Any]
    outcome: str


class AuditTrail(Closing):
    """Writes and reads the audit beside a journal. May be used by one thread at a time.

    It keeps the newest hundred thousand orders. Nothing of it is removed with old verdicts.

    Args:
        journal: the line's journal; the file itself need not exist.
        wall_ns: tells the time, nanoseconds since 1970 (UTC).

    Raises:
        DataError: the file is not Taktline's.
        TaktlineError: it cannot be written.
    """

    def __init__(self, journal: Path, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._wall_ns, self._file = wall_ns, PeopleFile(journal)

    def record(self, by: str, role: str, order: str, arguments: Mapping[str, Any], outcome: str) -> int:
        """Enters an order and returns its number; arguments must be plain values of JSON.

        Enter an order before it is given, with an outcome such as `given`, and `finish` it afterwards: then it is in
        the audit even if this process ends in between.

        Raises:
            ConfigError: a name is empty or too long.
            TaktlineError: it cannot be written.
        """
        row = (
            self._wall_ns(), checked_name(by), checked_name(role), checked_name(order),
            safe_text(json.dumps(dict(arguments), ensure_ascii=False)), safe_text(outcome),
        )  # fmt: skip
        connection = self._file.connection
        try:
            with transaction(connection):
                number = connection.execute(
                    "INSERT INTO orders (at, by, role, name, arguments, outcome) VALUES (?, ?, ?, ?, ?, ?)", row
                ).lastrowid
                assert number is not None
                connection.execute("DELETE FROM orders WHERE id <= ?", (number - _MOST_ORDERS,))
        except sqlite3.Error as error:
            raise self._file.failure(error) from error
        return number

    def finish(self, number: int, outcome: str) -> None:
        """Enters what came of an order.

        Raises:
            TaktlineError: it cannot be written.
        """
        try:
            self._file.connection.execute("UPDATE orders SET outcome = ? WHERE id = ?", (safe_text(outcome), number))
        except sqlite3.Error as error:
            raise self._file.failure(error) from error

    def newest(self, most: int = 100, before: int | None = None) -> list[OrderRecord]:
        """Returns orders, newest first.

        Args:
            most: at most so many.
            before: only orders with a lower number; None for all.

        Raises:
            TaktlineError: they cannot be read.
        """
        limit = 2**63 - 1 if before is None else before
        try:
            rows = self._file.connection.execute(
                f"SELECT {_COLUMNS} FROM orders WHERE id < ? ORDER BY id DESC LIMIT ?", (limit, most)
            ).fetchall()
        except sqlite3.Error as error:
            raise self._file.failure(error) from error
        return [
            OrderRecord(number, at, by, role, name, _arguments(arguments), outcome)
            for number, at, by, role, name, arguments, outcome in rows
        ]

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        # What was cut off because it was too long.
        return {"text": text}
    return found if isinstance(found, dict) else {"text": text}
