"""Reads a journal, while a line may be writing to it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence

from engines.errors import DataError
from pipeline.journal.pictures import picture_folder
from pipeline.journal.place import is_damage
from pipeline.journal.read_only import ReadOnlyJournal
from pipeline.journal.search import ENTRY, LABEL, WITH_LABEL, Found, Key, Row, key_at, label_of, search
from pipeline.journal.selection import Selection
from pipeline.protocol.entry import Entry
from pipeline.protocol.gap import Gap, checked
from pipeline.protocol.label import Label
from pipeline.protocol.replay import Series
from pipeline.protocol.verdict import WireError

log = logging.getLogger(__name__)

_MOST_SERIES = 64
_AT_ONCE = 500


class JournalReader(ReadOnlyJournal):
    """Reads a journal through its own read-only connection.

    Attributes and errors are those of `ReadOnlyJournal`.
    """

    def series(self, cameras: Sequence[str] = ()) -> list[Series]:
        """Returns what the journal holds of some cameras (all if empty), in the order it was written.

        For each camera, only the last 64 epochs count.
        """
        with self._reading():
            return self._series(cameras)

    def _series(self, cameras: Sequence[str]) -> list[Series]:
        known = [camera for (camera,) in self._connection.execute("SELECT camera FROM heads ORDER BY camera")]
        epochs = self._connection.execute(
            "SELECT number, id FROM epochs ORDER BY number DESC LIMIT ?", (_MOST_SERIES,)
        ).fetchall()
        found = []
        for camera in known:
            if cameras and camera not in cameras:
                continue
            for number, epoch in reversed(epochs):
                # Two queries, because SQLite uses an index for only one of min and max per query.
                ends = [
                    self._connection.execute(
                        f"SELECT {end}(sequence) FROM verdicts WHERE camera = ? AND epoch = ?", (camera, number)
                    ).fetchone()[0]
                    for end in ("min", "max")
                ]
                if None not in ends:
                    found.append(Series(camera, epoch, *ends))
        return found

    def read(self, camera: str, epoch: str, first: int, last: int, most: int) -> list[Entry | Gap]:
        """Returns at most `most` entries from `first` to `last` of a camera in an epoch, in order.

        A verdict that is damaged or has another wire version becomes a gap.
        """
        with self._reading():
            try:
                return [checked(entry) for entry in self._entries(camera, epoch, first, last, most)]
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
            # A page of the file is damaged; the other pages can still be read.
            found: list[Entry | Gap] = []
            for sequence in range(self._from(camera, epoch, first), last + 1):
                if len(found) == most:
                    break
                try:
                    found += [checked(entry) for entry in self._entries(camera, epoch, sequence, sequence, 1)]
                except sqlite3.DatabaseError as error:
                    if not is_damage(error):
                        raise
                    found.append(Gap(camera, epoch, sequence, sequence, "damaged"))
            return found

    def _from(self, camera: str, epoch: str, first: int) -> int:
        """Returns the first sequence that the journal holds, if the index can still be read."""
        try:
            found = self._connection.execute(
                "SELECT min(sequence) FROM verdicts WHERE camera = ? AND epoch = (SELECT number FROM epochs WHERE "
                "id = ?) AND sequence >= ?",
                (camera, epoch, first),
            ).fetchone()[0]
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return first
        return first if found is None else int(found)

    def _entries(self, camera: str, epoch: str, first: int, last: int, most: int) -> list[Entry]:
        rows = self._connection.execute(
            f"SELECT {ENTRY} FROM verdicts v JOIN epochs ON epochs.number = v.epoch WHERE camera = ? AND v.epoch = "
            "(SELECT number FROM epochs WHERE id = ?) AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?",
            (camera, epoch, first, last, most),
        )
        return [Entry(*row) for row in rows]

    def labels(self, camera: str, epoch: str, first: int, last: int) -> dict[int, Label]:
        """Returns what people said about a camera's verdicts, by sequence; none if the labels cannot be read."""
        try:
            self._people.refresh()
            rows = self._connection.execute(
                f"SELECT l.sequence, {LABEL} FROM people.labels l WHERE l.camera = ? AND l.epoch = ? AND l.current "
                "AND l.sequence BETWEEN ? AND ? AND l.label IS NOT NULL",
                (camera, epoch, first, last),
            ).fetchall()
            return {row[0]: Label(*row[1:]) for row in rows}
        except sqlite3.Error as error:
            log.warning("the labels of %s cannot be read (%s)", self.path, error)
            return {}

    def find(self, selection: Selection, most: int | None = None) -> Iterator[Found]:
        """Yields the selected verdicts, oldest first; with `most`, only that many of the newest.

        Verdicts that are damaged or have another wire version are skipped and counted in `skipped`.

        Raises:
            DataError: the selection needs facts, and the journal does not have them for all verdicts yet.
        """
        root = picture_folder(self.path)
        for row in self._rows(selection, most):
            try:
                yield row.read(root)
            except WireError:
                self.skipped += 1

    def _rows(self, selection: Selection, most: int | None) -> Iterator[Row]:
        # A new query for each part: a long export must not prevent the writer's log from being shortened.
        if self.unindexed is None:
            yield from self._searched(selection, most)
            return
        if selection.needs_facts:
            raise DataError(
                f"the journal {self.path} cannot be searched for that yet; `taktline journal index {self.path}` makes "
                "it searchable, and so does its line while it runs"
            )
        where, values = selection.where
        lowest = 0
        if most is not None:
            chosen = f"SELECT id FROM verdicts WHERE {where} ORDER BY id DESC LIMIT ?"
            with self._reading():
                found = self._connection.execute(f"SELECT min(id) FROM ({chosen})", [*values, most]).fetchone()[0]
            lowest = found or 0
        while True:
            with self._reading():
                self._people.refresh()
                rows = self._connection.execute(
                    f"SELECT v.id, picture, {ENTRY}, {LABEL} FROM (SELECT * FROM verdicts WHERE id >= ? AND {where} "
                    f"ORDER BY id LIMIT ?) v CROSS JOIN epochs ON epochs.number = v.epoch {WITH_LABEL} ORDER BY v.id",
                    [lowest, *values, _AT_ONCE],
                ).fetchall()
            for _, picture, *row in rows:
                entry = Entry(*row[:7])
                key = Key(entry.captured_at, entry.camera, entry.epoch, entry.sequence)
                yield Row(key, picture, entry, label_of(tuple(row[7:])))
            if len(rows) < _AT_ONCE:
                return
            lowest = rows[-1][0] + 1

    def _searched(self, selection: Selection, most: int | None) -> Iterator[Row]:
        with self._reading():
            self._people.refresh()
            key = None if most is None else key_at(self._connection, selection, most - 1)
        inclusive = True
        while True:
            with self._reading():
                self._people.refresh()
                rows = search(self._connection, selection, _AT_ONCE, key, newest_first=False, inclusive=inclusive)
            yield from rows
            if len(rows) < _AT_ONCE:
                return
            key, inclusive = rows[-1].key, False
