"""A real PostgreSQL for tests of the store, empty for each, and an SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.store.open_store import open_store
from pipeline.store.postgres import SCHEMA
from pipeline.store.sqlite import SqliteStore
from pipeline.store.store import Store
from tests.peers.postgres import Postgres

Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with Postgres(fsync="off") as server:
        server.start()
        yield server


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    server.ask(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    return server


@pytest.fixture(params=["postgres", "sqlite"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:{tmp_path / 'plant.sqlite'}"
    return str(request.getfixturevalue("postgres").url)


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    with open_store(address) as store:
        yield store


def ask(store: Store, statement: str) -> list[tuple[Any, ...]]:
    """Asks a store's database, on its own connection."""
    with store._connected() as connection:
        return [tuple(row) for row in connection.execute(statement).fetchall()]


def is_sqlite(store: Store) -> bool:
    return isinstance(store, SqliteStore)
