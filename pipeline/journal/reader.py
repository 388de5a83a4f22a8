"""Reads a journal, while a line may be writing to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engines.closing import Closing, closed_on_error
from engines.errors import DataError
from pipeline.journal.file import SCHEMA_VERSION, open_reader, schema_version
from pipeline.journal.pictures import picture_folder
from pipeline.journal.place import is_damage
from pipeline.protocol.entry import Entry
from pipeline.protocol.gap import Gap, checked
from pipeline.protocol.replay import Series
from pipeline.protocol.verdict import Heatmap, Outcome, Verdict, WireError, unpack

_MOST_SERIES = 64
_AT_ONCE = 500
_ENTRY = "epochs.id, camera, sequence, captured_at, verdict, body, heatmap"
_FROM = "FROM verdicts JOIN epochs ON epochs.number = verdicts.epoch"


@dataclass(frozen=True)
class Selection:
    """Which verdicts to select.

    Attributes:
        cameras: of these cameras; of all if empty.
        since: captured at this time or later, nanoseconds since 1970 (UTC); None for no limit.
        until: captured before this time; None for no limit.
        verdicts: only these; all if empty.
    """

    cameras: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    verdicts: tuple[Outcome, ...] = ()

    @property
    def where(self) -> tuple[str, list[str | int]]:
        """An SQL condition and its values."""
        conditions: list[str] = ["1"]
        values: list[str | int] = []
        for column, wanted in (("camera", self.cameras), ("verdict", self.verdicts)):
            if wanted:
                conditions.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values += wanted
        for condition, moment in (("captured_at >= ?", self.since), ("captured_at < ?", self.until)):
            if moment is not None:
                conditions.append(condition)
                values.append(moment)
        return " AND ".join(conditions), values


@dataclass(frozen=True, slots=True)
class Found:
    """A published verdict, its heatmap if it had one, and the file of its picture if that was kept."""

    verdict: Verdict
    heatmap: Heatmap | None
    picture: Path | None


class JournalReader(Closing):
    """Reads a journal through its own read-only connection.

    Its methods raise `DataError` if the file is damaged or cannot be read at the moment.

    Attributes:
        skipped: number of verdicts that `find` skipped because they are damaged or have another wire version.

    Raises:
        DataError: there is no file, or it is not a journal of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        if not path.is_file():
            raise DataError(f"there is no journal {path}; give the path from [journal] in the line file")
        try:
            self._connection = open_reader(path)
        except sqlite3.Error as error:
            raise DataError(f"{path} cannot be opened ({error})") from error
        with closed_on_error(self):
            self._check_version()

    def _check_version(self) -> None:
        try:
            version = schema_version(self._connection)
        except sqlite3.Error as error:
            raise DataError(f"{self.path} cannot be read as a journal ({error})") from error
        if version == 0:
            raise DataError(f"{self.path} is not a journal; give the path from [journal] in the line file")
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{self.path} is a journal of version {version} and this Taktline reads version {SCHEMA_VERSION}; use "
                "the Taktline that wrote it"
            )

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
            f"SELECT {_ENTRY} {_FROM} WHERE camera = ? AND verdicts.epoch = (SELECT number FROM epochs WHERE id = ?) "
            "AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?",
            (camera, epoch, first, last, most),
        )
        return [Entry(*row) for row in rows]

    def find(self, selection: Selection, most: int | None = None) -> Iterator[Found]:
        """Yields the selected verdicts, oldest first; with `most`, only that many of the newest.

        Verdicts that are damaged or have another wire version are skipped and counted in `skipped`.
        """
        where, values = selection.where
        lowest = 0
        if most is not None:
            chosen = f"SELECT id FROM verdicts WHERE {where} ORDER BY id DESC LIMIT ?"
            with self._reading():
                found = self._connection.execute(f"SELECT min(id) FROM ({chosen})", [*values, most]).fetchone()[0]
            lowest = found or 0
        root = picture_folder(self.path)
        while True:
            # A new query for each part: a long export must not prevent the writer's log from being shortened.
            with self._reading():
                rows = self._connection.execute(
                    f"SELECT verdicts.id, picture, {_ENTRY} {_FROM} WHERE verdicts.id >= ? AND {where} "
                    "ORDER BY verdicts.id LIMIT ?",
                    [lowest, *values, _AT_ONCE],
                ).fetchall()
            for _, picture, *row in rows:
                try:
                    verdict, heatmap = unpack(Entry(*row).parts)
                except WireError:
                    self.skipped += 1
                    continue
                yield Found(verdict, heatmap, None if picture is None else root / picture)
            if len(rows) < _AT_ONCE:
                return
            lowest = rows[-1][0] + 1

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            hint = "`taktline journal verify` shows what is wrong" if is_damage(error) else "try again"
            raise DataError(f"the journal {self.path} cannot be read ({error}); {hint}") from error
