"""Measures how many verdicts a second one core brings into a store."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.load.messages import plant_message
from bench.measure.scratch import scratch_folder
from engines.errors import ConfigError
from engines.extras import require
from pipeline.protocol.verdict import Verdict, unpack
from pipeline.store.postgres import PostgresStore
from pipeline.store.rows import Batch
from pipeline.store.sqlite import SqliteStore
from pipeline.store.store import Store, first_line

_BATCH, _LINES = 5_000, 100
_MOST_VERDICTS = 10_000_000
_Figures = tuple[float, float, float, float]


@dataclass(frozen=True)
class Filled:
    """What it costs to fill one store; medians over the runs.

    Attributes:
        store: its kind.
        verdicts_per_s: from messages as they were received to a committed transaction, in a second of the clock.
        per_core: in a second of one core's time, the bridge's and the server's together; nan if the server runs on
            another machine.
        server_share: the server's part of that time; nan likewise.
        bytes_each: what a verdict takes on the disk, indexes included.
    """

    store: str
    verdicts_per_s: float
    per_core: float
    server_share: float
    bytes_each: float


def measure_store(
    urls: Sequence[str], folder: Path | None, count: int, runs: int, progress: Callable[[str, int], None]
) -> list[Filled]:
    """Reads messages of a hundred lines and stores them in PostgreSQL and in an SQLite file.

    The servers come first, because their addresses may be wrong.

    Args:
        urls: of PostgreSQL servers, on which a database is made and removed again.
        folder: where to put the SQLite file; None for a temporary folder.
        count: number of verdicts.
        runs: number of runs for the medians.
        progress: called with the store and how many verdicts are in.

    Raises:
        ConfigError: these are more verdicts than it can make, or a server cannot be used.
        TaktlineError: the folder cannot be written, or a store fails.
    """
    if count > _MOST_VERDICTS:
        raise ConfigError(f"it makes at most {_MOST_VERDICTS} verdicts; give a lower number")
    found: dict[str, list[_Figures]] = {}
    for _ in range(runs):
        for url in urls:
            with _database(url) as server:
                before = server.size()
                with PostgresStore(server.url) as store:
                    name = store.where.rpartition("/")[0]
                    speed = _fill(store, count, server.used, partial(progress, name))
                found.setdefault(name, []).append((*speed, (server.size() - before) / count))
        with scratch_folder(folder) as place:
            path = place / "bench.sqlite"
            with SqliteStore(path) as store:
                speed = _fill(store, count, lambda: 0.0, partial(progress, "sqlite"))
            # What was in its log is in the file by now.
            found.setdefault("sqlite", []).append((*speed, path.stat().st_size / count))
    return [Filled(name, *(_median(column) for column in zip(*runs, strict=True))) for name, runs in found.items()]


def _median(values: Sequence[float]) -> float:
    return float(np.median(values))


def _fill(
    store: Store, count: int, used_there: Callable[[], float], progress: Callable[[int], None]
) -> tuple[float, float, float]:
    """Returns verdicts a second of the clock and of processor time, and the server's share of the latter."""
    store.positions()
    store.tend()
    spent = here = 0.0
    before_there = used_there()
    for first in range(0, count, _BATCH):
        messages = [plant_message(number, _LINES) for number in range(first, min(first + _BATCH, count))]
        clock, used = time.perf_counter(), time.process_time()
        batches: dict[str, list[Verdict]] = {}
        for parts in messages:
            verdict, _ = unpack(parts)
            batches.setdefault(verdict.line, []).append(verdict)
        position = {"top": {"epoch": "5f0c", "sequence": first // _LINES}}
        store.write([Batch(line, some, position) for line, some in batches.items()])
        spent += time.perf_counter() - clock
        here += time.process_time() - used
        progress(first + len(messages))
    there = used_there() - before_there
    return count / spent, count / (here + there), there / (here + there)


@dataclass(frozen=True)
class _Database:
    """A database on a server.

    Attributes:
        url: its address.
        used: returns the server's processor time for it; nan if the server runs on another machine.
        size: returns its bytes on the disk.
    """

    url: str
    used: Callable[[], float]
    size: Callable[[], float]


@contextmanager
def _database(url: str) -> Iterator[_Database]:
    """Makes a database on a server and removes it."""
    psutil, psycopg = require("psutil", "bench"), require("psycopg", "sql", ConfigError)
    name = f"taktline_bench_{uuid.uuid4().hex[:8]}"
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")

            def used() -> float:
                asked = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
                try:
                    process = psutil.Process(connection.execute(asked, (name,)).fetchone()[0])
                    times = process.cpu_times()
                    return float(times.user + times.system) if "postgres" in process.name() else math.nan
                except psutil.Error:
                    return math.nan

            def size() -> float:
                return float(connection.execute("SELECT pg_database_size(%s)", (name,)).fetchone()[0])

            try:
                yield _Database(psycopg.conninfo.make_conninfo(url, dbname=name), used, size)
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    except psycopg.Error as error:
        raise ConfigError(f"no database can be made there ({first_line(error)}); give another --url") from error
