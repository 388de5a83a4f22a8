"""The table that history is searched by: one short row per verdict, in the order of time.

The rows hold everything that can be asked for, so that any search reads this table alone, from the newest row back. A
search that finds little reads all of it: 60 bytes a verdict. An index for each filter would be faster for some, but
entries come in its own order only for time: an index on the parts' ids alone costs the writer more than everything else
that it does.

A file of version 1 has no such table. Its line adds an empty one when it starts, which takes no time, and `Indexing`
fills it for the older verdicts while the line runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack

from pipeline.protocol.entry import Entry, Facts

SCHEMA = """
CREATE TABLE facts (
    captured_at INTEGER NOT NULL, camera TEXT NOT NULL, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
    verdict TEXT NOT NULL, reason TEXT, score REAL, part TEXT, latency INTEGER,
    PRIMARY KEY (captured_at, camera, epoch, sequence)) WITHOUT ROWID;
CREATE TRIGGER facts_of_removed AFTER DELETE ON verdicts BEGIN
    DELETE FROM facts WHERE captured_at = old.captured_at AND camera = old.camera AND epoch = old.epoch
    AND sequence = old.sequence;
END;
CREATE TABLE unindexed (up_to INTEGER NOT NULL);
"""
# A journal of version 1 becomes one of version 2: no row is touched. It keeps two indexes that facts replace, because
# removing them from millions of verdicts would hold up the line.
UPGRADE = f"{SCHEMA}INSERT INTO unindexed SELECT max(id) FROM verdicts HAVING max(id) IS NOT NULL;"
_INSERT = "INSERT OR IGNORE INTO facts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_STEP = 100


def enter_facts(connection: sqlite3.Connection, entries: Sequence[Entry], numbers: dict[str, int]) -> None:
    """Enters what entries can be searched for; `numbers` are those of their epochs."""
    connection.executemany(
        _INSERT,
        [(entry.captured_at, entry.camera, numbers[entry.epoch], entry.sequence, entry.verdict, *_facts_of(entry))
         for entry in entries],
    )  # fmt: skip


def unindexed(connection: sqlite3.Connection) -> int | None:
    """Returns up to which row a journal's verdicts cannot be searched yet; None if all can."""
    found = connection.execute("SELECT up_to FROM unindexed").fetchone()
    return None if found is None else int(found[0])


def count_unindexed(connection: sqlite3.Connection, up_to: int) -> int:
    """Returns how many verdicts cannot be searched yet. Rows have consecutive numbers, so that none is read."""
    first = connection.execute("SELECT min(id) FROM verdicts").fetchone()[0]
    return 0 if first is None else max(0, up_to - int(first) + 1)


def index_some(connection: sqlite3.Connection) -> int:
    """Makes some older verdicts searchable, newest first, and returns how many; 0 once all are.

    Call it within a transaction.
    """
    last = unindexed(connection)
    if last is None:
        return 0
    rows = connection.execute(
        "SELECT id, captured_at, camera, epoch, sequence, verdict, body FROM verdicts WHERE id <= ? "
        "ORDER BY id DESC LIMIT ?",
        (last, _STEP),
    ).fetchall()
    connection.executemany(_INSERT, _with_facts(rows))
    if len(rows) < _STEP:
        connection.execute("DELETE FROM unindexed")
    else:
        connection.execute("UPDATE unindexed SET up_to = ?", (rows[-1][0] - 1,))
    return len(rows)


def _facts_of(entry: Entry) -> Facts:
    return entry.facts or _read(entry.body)


def _with_facts(rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return [(*row[1:-1], *_read(row[-1])) for row in rows]


def _read(body: bytes) -> Facts:
    """Reads a body as far as it can be read: a damaged verdict is still found by its time and camera."""
    try:
        values = msgpack.unpackb(body, max_map_len=64, max_array_len=4096, max_bin_len=0, max_ext_len=0)
        latency = sum(int(step) for step in values["latency"].values())
        score = values["score"]
        part = values["part"]
        return Facts(
            str(values["reason"]) if values["reason"] is not None else None,
            None if score is None else float(score),
            None if part is None else str(part),
            min(max(latency, 0), 2**63 - 1),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, msgpack.UnpackException):
        return Facts(None, None, None, 0)
