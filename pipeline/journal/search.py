"""Searches a journal's facts, a page at a time, from a key on: later pages take no longer than the first."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.journal.selection import Selection
from pipeline.protocol.entry import Entry
from pipeline.protocol.label import Label
from pipeline.protocol.verdict import Heatmap, Verdict, unpack

_KEY = "f.captured_at, f.camera, f.epoch, f.sequence"
ENTRY = "epochs.id, v.camera, v.sequence, v.captured_at, v.verdict, v.body, v.heatmap"
LABEL = "l.label, l.by, l.at, l.note"
WITH_LABEL = """LEFT JOIN people.labels l ON l.camera = v.camera AND l.epoch = epochs.id AND l.sequence = v.sequence
AND l.current"""


class Key(NamedTuple):
    """A verdict's place in the order of time; frames of the same moment are ordered by what follows.

    Attributes:
        captured_at: see `Verdict.captured_at`.
        camera: see `Verdict.camera`.
        epoch: see `Verdict.epoch`.
        sequence: see `Verdict.sequence`.
    """

    captured_at: int
    camera: str
    epoch: str
    sequence: int

    @classmethod
    def of(cls, verdict: Verdict) -> Key:
        """Returns a verdict's key."""
        return cls(verdict.captured_at, verdict.camera, verdict.epoch, verdict.sequence)


class Found(NamedTuple):
    """A published verdict, its heatmap if it had one, and the file of its picture if that was kept."""

    verdict: Verdict
    heatmap: Heatmap | None
    picture: Path | None


class Row(NamedTuple):
    """A row that was found.

    Attributes:
        key: its key.
        picture: the path of its picture within the folder of pictures; None if none was kept.
        entry: the verdict as published.
        label: what a person said about it.
    """

    key: Key
    picture: str | None
    entry: Entry
    label: Label | None

    def read(self, root: Path) -> Found:
        """Reads the verdict; `root` is the folder of pictures.

        Raises:
            WireError: it is damaged or has another wire version.
        """
        verdict, heatmap = unpack(self.entry.parts)
        picture = None if self.picture is None else root / self.picture
        return Found(verdict if self.label is None else replace(verdict, label=self.label), heatmap, picture)


def search(
    connection: sqlite3.Connection,
    selection: Selection,
    most: int,
    after: Key | None = None,
    *,
    newest_first: bool = True,
    inclusive: bool = False,
) -> list[Row]:
    """Returns selected verdicts in the order of time.

    Args:
        connection: a reader's connection, with the people's file attached.
        selection: which.
        most: at most so many.
        after: begin after this key; None to begin at the end that comes first.
        newest_first: whether the newest come first.
        inclusive: whether the verdict of that key itself is wanted too.
    """
    chosen, values = _chosen(selection, after, newest_first, inclusive)
    order = "DESC" if newest_first else "ASC"
    rows = connection.execute(
        f"SELECT k.captured_at, k.camera, epochs.id, k.sequence, v.picture, {ENTRY}, {LABEL} "
        f"FROM (SELECT {_KEY} FROM {chosen} {_ordered(order)} LIMIT ?) k "
        "CROSS JOIN epochs ON epochs.number = k.epoch "
        "CROSS JOIN verdicts v ON v.camera = k.camera AND v.epoch = k.epoch AND v.sequence = k.sequence "
        f"{WITH_LABEL} {_ordered(order).replace('f.', 'k.')}",
        [*values, most],
    )
    return [Row(Key(*row[:4]), row[4], Entry(*row[5:12]), label_of(row[12:])) for row in rows]


def find_one(connection: sqlite3.Connection, camera: str, epoch: str, sequence: int) -> Row | None:
    """Returns one verdict; None if the journal does not hold it."""
    found = connection.execute(
        f"SELECT v.picture, {ENTRY}, {LABEL} FROM epochs CROSS JOIN verdicts v ON v.epoch = epochs.number {WITH_LABEL} "
        "WHERE epochs.id = ? AND v.camera = ? AND v.sequence = ?",
        (epoch, camera, sequence),
    ).fetchone()
    if found is None:
        return None
    entry = Entry(*found[1:8])
    return Row(Key(entry.captured_at, camera, epoch, sequence), found[0], entry, label_of(found[8:]))


def key_at(connection: sqlite3.Connection, selection: Selection, offset: int) -> Key | None:
    """Returns the key of the selected verdict that so many newer ones precede; None if there are fewer."""
    chosen, values = selection.from_facts
    found = connection.execute(
        f"SELECT f.captured_at, f.camera, (SELECT id FROM epochs WHERE number = f.epoch), f.sequence FROM {chosen} "
        f"{_ordered('DESC')} LIMIT 1 OFFSET ?",
        [*values, offset],
    ).fetchone()
    return None if found is None else Key(*found)


def count_some(connection: sqlite3.Connection, selection: Selection, most: int) -> int:
    """Returns how many verdicts are selected, and stops counting at `most`."""
    chosen, values = selection.from_facts
    found = connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {chosen} LIMIT ?)", [*values, most])
    return int(found.fetchone()[0])


def next_key(connection: sqlite3.Connection, selection: Selection, beside: Key, *, newer: bool) -> Key | None:
    """Returns the selected verdict before or after a key in time; None at the end."""
    chosen, values = _chosen(selection, beside, not newer, inclusive=False)
    found = connection.execute(
        f"SELECT f.captured_at, f.camera, (SELECT id FROM epochs WHERE number = f.epoch), f.sequence FROM {chosen} "
        f"{_ordered('ASC' if newer else 'DESC')} LIMIT 1",
        values,
    ).fetchone()
    return None if found is None else Key(*found)


def label_of(row: tuple[Any, ...]) -> Label | None:
    """Returns the label from its columns; None if there is none or it was withdrawn."""
    return None if row[0] is None else Label(*row)


def _chosen(selection: Selection, after: Key | None, newest_first: bool, inclusive: bool) -> tuple[str, list[Any]]:
    chosen, values = selection.from_facts
    if after is None:
        return chosen, values
    compare = ("<" if newest_first else ">") + ("=" if inclusive else "")
    # The first column also by itself, so that SQLite begins its search there.
    return (
        f"{chosen} AND f.captured_at {compare[0]}= ? "
        f"AND ({_KEY}) {compare} (?, ?, (SELECT number FROM epochs WHERE id = ?), ?)",
        [*values, after.captured_at, *after],
    )


def _ordered(order: str) -> str:
    return "ORDER BY " + ", ".join(f"{column} {order}" for column in _KEY.split(", "))
