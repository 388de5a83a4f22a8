"""A store in PostgreSQL."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from engines.errors import ConfigError, TaktlineError
from engines.extras import require
from pipeline.protocol.verdict import Verdict
from pipeline.store.partitions import Partitions
from pipeline.store.rows import COLUMNS, row_of
from pipeline.store.steps import STEPS, Step, missing_steps
from pipeline.store.store import Store, StoreDown, first_line

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

SCHEMA = "taktline"
# Numbers of advisory locks: any that no other program is likely to take.
_SCHEMA_LOCK = 0x74616B74
_CONNECT = {
    "connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 20_000, "application_name": "taktline",
}  # fmt: skip
# What a server says to a user whom it will never admit. It says so before it tells its error codes.
_NEVER = ("authentication failed", "does not exist", "no password supplied", "no pg_hba.conf entry", "not permitted")
_PATIENCE_S, _MIGRATION_S = 120.0, 3600.0
_QUOTED = ", ".join(f'"{name}"' for name in COLUMNS)
_STAGING = f"""CREATE TEMP TABLE staging ({", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())})
ON COMMIT DELETE ROWS"""
# Whole microseconds: a float of seconds would round.
_INSERT = f"""INSERT INTO verdicts (captured_at, {_QUOTED})
SELECT 'epoch'::timestamptz + (captured_ns / 1000) * interval '1 microsecond', {_QUOTED} FROM staging
ON CONFLICT DO NOTHING"""
_ADVANCE = """INSERT INTO cursors (line, position) SELECT * FROM unnest(%s::text[], %s::jsonb[])
ON CONFLICT (line) DO UPDATE SET position = excluded.position, at = now()"""
_REFUSED = """INSERT INTO refused (line, camera, epoch, sequence, why, body) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING"""

_FORGET = "DELETE FROM refused WHERE at < now() - make_interval(days => %s)"


class PostgresStore(Store):
    """A store in the schema `taktline` of a PostgreSQL database, in one table that is partitioned by day.

    Args:
        url: `postgresql://...`, with everything that libpq takes; what it lacks comes from the environment.
        keep_days: see `Store`.
        steps: makes the schema.

    Attributes:
        patience_s: how long the server may take for a transaction; then the connection is cut.

    Raises:
        ConfigError: the URL cannot be used, or psycopg is not installed.
    """

    def __init__(self, url: str, keep_days: int | None = None, steps: Sequence[Step] = STEPS) -> None:
        self._psycopg = require("psycopg", "sql", ConfigError)
        try:
            found = self._psycopg.conninfo.conninfo_to_dict(url)
        except self._psycopg.ProgrammingError as error:
            raise ConfigError(
                f"this is not the address of a PostgreSQL database ({first_line(error)}); give one like "
                "postgresql://USER@HOST/DATABASE"
            ) from error
        where = f"postgresql://{found.get('host', 'localhost')}:{found.get('port', 5432)}/{found.get('dbname', '')}"
        refusals = (self._psycopg.DataError, self._psycopg.IntegrityError)
        super().__init__(where, keep_days, refusals, self._psycopg.Error)
        self._options, self._steps = {**_CONNECT, **found}, steps
        self._partitions = Partitions()
        self._ever = self._staged = False
        self.patience_s = _PATIENCE_S

    def positions(self) -> dict[str, Any]:
        """Returns how far the subscriber of each line got."""
        with self._connected() as connection:
            return dict(connection.execute("SELECT line, position FROM cursors").fetchall())

    def close(self) -> None:
        """Closes the connection."""
        super().close()
        # Another program may change them meanwhile.
        self._partitions.forget()

    @property
    def _connection(self) -> Connection[Any]:
        connection: Connection[Any] = self._open
        return connection

    @contextmanager
    def _connected(self) -> Iterator[Connection[Any]]:
        with super()._connected() as connection, _cut_after(connection, self.patience_s):
            yield connection

    def _connect(self) -> None:
        self._open = self._psycopg.connect(**self._options, autocommit=True)
        connection = self._connection
        with _cut_after(connection, _MIGRATION_S):
            migrate(connection, self._steps, self.where)
        connection.execute(f"SET search_path TO {SCHEMA}")
        connection.execute(_STAGING)
        self._ever = True

    def _explain(self, error: Exception) -> TaktlineError | None:
        why = first_line(error)
        if self._ever or not isinstance(error, self._psycopg.OperationalError) or not any(no in why for no in _NEVER):
            return None
        return ConfigError(f"the store {self.where} does not admit this program ({why}); check user and database")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._connected() as connection, connection.transaction():
            # Held until the end: a newer Taktline waits with its changes.
            missing_steps(_version(connection), self._steps, self.where)
            self._staged = False
            yield

    def _prepare(self, days: set[int]) -> dict[int, str]:
        if self._partitions.has(days):
            return {}
        with self._connected() as connection:
            return self._partitions.make(connection, days)

    def _enter(self, verdicts: Sequence[Verdict]) -> int:
        # A savepoint: what is refused takes nothing else with it.
        with self._connection.transaction(), self._connection.cursor() as cursor:
            if self._staged:
                cursor.execute("TRUNCATE staging")
            with cursor.copy(f"COPY staging ({_QUOTED}) FROM STDIN") as copy:
                for verdict in verdicts:
                    copy.write_row(row_of(verdict))
            try:
                stored = cursor.execute(_INSERT).rowcount
            except self._psycopg.errors.CheckViolation as error:
                if error.diag.constraint_name is None:
                    # Not the row's fault: somebody removed the partition of its day a moment ago.
                    raise StoreDown(f"the store {self.where} has lost a partition ({first_line(error)})") from error
                raise
        self._staged = True
        return stored

    def _keep_refused(self, verdict: Verdict, why: str, body: str) -> None:
        name = tuple(text.replace("\0", "\\0") for text in (verdict.line, verdict.camera, verdict.epoch))
        with self._connection.transaction():
            self._connection.execute(_REFUSED, (*name, verdict.sequence, why, body))

    def _advance(self, positions: dict[str, str]) -> None:
        # Always in one order, so that two bridges never wait for each other.
        lines = sorted(positions)
        self._connection.execute(_ADVANCE, (lines, [positions[line] for line in lines]))

    def _tend(self, today: int, oldest: int | None) -> None:
        with self._connected() as connection:
            self._partitions.tend(connection, today, oldest)
            if oldest is not None:
                connection.execute(_FORGET, (today - oldest,))


def migrate(connection: Connection[Any], steps: Sequence[Step], where: str) -> None:
    """Brings a database's schema up to date, one program at a time.

    Args:
        connection: in autocommit mode.
        steps: make the schema.
        where: what to call the database.

    Raises:
        ConfigError: a newer Taktline made its schema.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        found = connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.steps",)).fetchone()
        if found is None or found[0] is None:
            # Not `IF NOT EXISTS`, which asks for rights that a user of an existing schema does not need.
            if connection.execute("SELECT to_regnamespace(%s)", (SCHEMA,)).fetchone() == (None,):
                connection.execute(f"CREATE SCHEMA {SCHEMA}")
            connection.execute(
                f"CREATE TABLE {SCHEMA}.steps (version integer PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())"
            )
        connection.execute(f"SET LOCAL search_path TO {SCHEMA}")
        if not missing_steps(_version(connection), steps, where):
            return
        # Waits for transactions that count on the schema as it is, and lets those that follow see what became of it.
        connection.execute("LOCK TABLE steps IN ACCESS EXCLUSIVE MODE")
        for version, step in missing_steps(_version(connection), steps, where):
            connection.execute(step.postgres.encode())
            connection.execute("INSERT INTO steps (version) VALUES (%s)", (version,))
            log.warning("the store %s has schema version %d now", where, version)


@contextmanager
def _cut_after(connection: Connection[Any], seconds: float) -> Iterator[None]:
    """Cuts a connection if the block takes too long: a server that hangs keeps its sockets open, and libpq waits."""

    def cut() -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as found:
            found.shutdown(socket.SHUT_RDWR)

    number = connection.fileno()
    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _version(connection: Connection[Any]) -> int:
    found = connection.execute("SELECT coalesce(max(version), 0) FROM steps").fetchone()
    assert found is not None
    return int(found[0])
