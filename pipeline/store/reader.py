"""Asks a store, on a connection that only reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from engines.closing import Closing
from engines.errors import DataError, TaktlineError
from engines.extras import require
from pipeline.store.open_store import store_file
from pipeline.store.postgres import SCHEMA
from pipeline.store.steps import STEPS
from pipeline.store.store import first_line

_CONNECT_S = 5
_BUSY_S = 2.0
# Whoever waits for a page must not keep the server busy for long.
_PATIENCE_MS = 30_000


class StoreReader(Closing):
    """A store that other programs fill. For one thread at a time.

    Args:
        address: see `open_store`.

    Attributes:
        is_postgres: whether it is PostgreSQL; otherwise it is SQLite.

    Raises:
        ConfigError: it is no address of a store, or psycopg is not installed.
        DataError: it cannot be read, is no store, or a newer Taktline made it.
    """

    def __init__(self, address: str) -> None:
        file = store_file(address)
        self.is_postgres = file is None
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error,)
        # Whatever the address says, it must not show a password.
        self._where = "in PostgreSQL" if file is None else str(file)
        self._connection: Any
        if file is None:
            psycopg = require("psycopg", "sql")
            self._errors = (psycopg.Error,)
            try:
                self._connection = psycopg.connect(
                    address, autocommit=True, connect_timeout=_CONNECT_S, application_name="taktline",
                    options=f"-csearch_path={SCHEMA} -cdefault_transaction_read_only=on "
                    f"-cstatement_timeout={_PATIENCE_MS}",
                )  # fmt: skip
            except psycopg.Error as error:
                raise self._unreadable(error) from error
        else:
            try:
                uri = f"{file.resolve().as_uri()}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None)
            except sqlite3.Error as error:
                raise self._unreadable(error) from error
        try:
            (version,) = self.ask("SELECT max(version) FROM steps")[0]
            if version is None or version > len(STEPS):
                raise DataError(
                    f"the store {self._where} has schema version {version} and this Taktline reads up to version "
                    f"{len(STEPS)}; update this Taktline"
                )
        except TaktlineError:
            self.close()
            raise

    def ask(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Returns the rows of a statement.

        Args:
            statement: with `?` for each value.
            values: the values.

        Raises:
            DataError: it cannot be read now.
        """
        try:
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(statement.replace("?", "%s") if self.is_postgres else statement, values)
                return list(cursor.fetchall())
        except self._errors as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(
            f"the store {self._where} cannot be read ({first_line(error)}); check its address, and that a bridge has "
            "filled it"
        )
