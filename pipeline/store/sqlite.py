"""A store in an SQLite file, for a few lines and no server."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engines.errors import ConfigError, TaktlineError
from pipeline.protocol.verdict import Verdict
from pipeline.store.rows import COLUMNS, DAY_NS, row_of
from pipeline.store.steps import STEPS, Step, missing_steps
from pipeline.store.store import Store

log = logging.getLogger(__name__)

_BUSY_S, _AGAIN_S = 10.0, 0.01
_NOT_SQLITE = sqlite3.SQLITE_NOTADB
_REMOVED_AT_ONCE = 10_000
_QUOTED = ", ".join(f'"{name}"' for name in COLUMNS)
_INSERT = f"INSERT INTO verdicts ({_QUOTED}) VALUES ({', '.join('?' * len(COLUMNS))}) ON CONFLICT DO NOTHING"
_ADVANCE = """INSERT INTO cursors (line, position) VALUES (?, ?)
ON CONFLICT (line) DO UPDATE SET position = excluded.position, at = CURRENT_TIMESTAMP"""
_REFUSED = """INSERT INTO refused (line, camera, epoch, sequence, why, body) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING"""
_FORGET = "DELETE FROM refused WHERE at < datetime('now', ?)"
_REMOVE = """DELETE FROM verdicts WHERE (line, camera, epoch, sequence) IN
(SELECT line, camera, epoch, sequence FROM verdicts WHERE line = ? AND captured_ns < ? LIMIT ?)"""


class SqliteStore(Store):
    """A store in a file of its own.

    Args:
        path: the file; its folder exists.
        keep_days: see `Store`.
        steps: make the schema.
    """

    def __init__(self, path: Path, keep_days: int | None = None, steps: Sequence[Step] = STEPS) -> None:
        super().__init__(
            str(path), keep_days, (sqlite3.IntegrityError, sqlite3.DataError, OverflowError), sqlite3.Error
        )
        self._path, self._steps = path, steps

    def positions(self) -> dict[str, Any]:
        """Returns how far the subscriber of each line got."""
        with self._connected() as connection:
            found = connection.execute("SELECT line, position FROM cursors").fetchall()
        return {line: json.loads(position) for line, position in found}

    @property
    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = self._open
        return connection

    def _explain(self, error: Exception) -> TaktlineError | None:
        code = getattr(error, "sqlite_errorcode", None)
        return ConfigError(f"{self._path} is not an SQLite file; give another path") if code == _NOT_SQLITE else None

    def _connect(self) -> None:
        until = time.monotonic() + _BUSY_S
        while True:
            self._open = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
            try:
                self._set_up(self._open)
                return
            except sqlite3.OperationalError as error:
                self._open.close()
                # Where two turn on the log, SQLite lets one of them fail at once: waiting, both would wait for ever.
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > until:
                    raise
                time.sleep(_AGAIN_S)

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        with _begun(connection):
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if tables and "steps" not in tables:
                raise ConfigError(f"{self._path} is another program's database; give another path")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS steps (version integer PRIMARY KEY, at text DEFAULT CURRENT_TIMESTAMP)"
            )
            for version, step in missing_steps(_version(connection), self._steps, self.where):
                for statement in step.sqlite.split(";"):
                    connection.execute(statement)
                connection.execute("INSERT INTO steps (version) VALUES (?)", (version,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._connected() as connection, _begun(connection):
            missing_steps(_version(connection), self._steps, self.where)
            yield

    def _enter(self, verdicts: Sequence[Verdict]) -> int:
        with self._savepoint():
            return self._connection.executemany(_INSERT, map(row_of, verdicts)).rowcount

    def _keep_refused(self, verdict: Verdict, why: str, body: str) -> None:
        with self._savepoint():
            name = (verdict.line, verdict.camera, verdict.epoch, verdict.sequence)
            self._connection.execute(_REFUSED, (*name, why, body))

    def _advance(self, positions: dict[str, str]) -> None:
        self._connection.executemany(_ADVANCE, positions.items())

    def _tend(self, today: int, oldest: int | None) -> None:
        if oldest is None:
            return
        with self._connected() as connection:
            for (line,) in connection.execute("SELECT line FROM cursors").fetchall():
                # A few at a time, so that another bridge need not wait for long.
                while connection.execute(_REMOVE, (line, oldest * DAY_NS, _REMOVED_AT_ONCE)).rowcount:
                    pass
            connection.execute(_FORGET, (f"-{today - oldest} days",))

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        """What is refused takes nothing else with it."""
        self._connection.execute("SAVEPOINT entering")
        try:
            yield
        except self._refusals:
            self._connection.execute("ROLLBACK TO entering")
            raise
        finally:
            self._connection.execute("RELEASE entering")


@contextmanager
def _begun(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM steps").fetchone()[0])
