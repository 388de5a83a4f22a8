"""Opens a store by its address."""

from __future__ import annotations

from pathlib import Path

from engines.errors import ConfigError
from pipeline.store.postgres import PostgresStore
from pipeline.store.sqlite import SqliteStore
from pipeline.store.store import Store

_POSTGRES = ("postgresql://", "postgres://")
_SQLITE = "sqlite:"


def open_store(address: str, keep_days: int | None = None) -> Store:
    """Returns the store at an address; it connects when it is first used.

    Args:
        address: `postgresql://...`, or `sqlite:PATH` or a path for an SQLite file.
        keep_days: see `Store`.

    Raises:
        ConfigError: it is not such an address, the file's folder does not exist, or psycopg is not installed.
    """
    path = store_file(address)
    return PostgresStore(address, keep_days) if path is None else SqliteStore(path, keep_days)


def store_file(address: str) -> Path | None:
    """Returns the SQLite file at an address; None for a PostgreSQL server.

    Raises:
        ConfigError: it is no address of a store, or the file's folder does not exist.
    """
    if address.startswith(_POSTGRES):
        return None
    kind, separator, _ = address.partition("://")
    if separator and kind != "sqlite":
        raise ConfigError(f"there is no store {kind}://; give postgresql://... or sqlite:PATH")
    path = Path(address.removeprefix(_SQLITE).removeprefix("//") if address.startswith(_SQLITE) else address)
    if not path.name or not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent} for the store {path.name!r}; create it, or give another")
    return path
