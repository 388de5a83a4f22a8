"""Reads a journal, also while a line writes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.closing import Closing
from engines.errors import DataError
from pipeline.journal.file import SCHEMA_VERSION, open_reader, schema_version
from pipeline.journal.pictures import picture_folder
from pipeline.protocol.entry import Entry
from pipeline.protocol.replay import Series
from pipeline.protocol.verdict import Heatmap, Outcome, Verdict, unpack

_MOST_SERIES = 64
_AT_ONCE = 500
_ENTRY = "epochs.id, camera, sequence, captured_at, verdict, body, heatmap"
_FROM = "FROM verdicts JOIN epochs ON epochs.number = verdicts.epoch"


@dataclass(frozen=True)
class Selection:
    """Which verdicts are wanted.

    Attributes:
        cameras: of these cameras; of all when empty.
        since: captured at this time or later, nanoseconds since 1970 (UTC); None for no limit.
        until: captured before this time; None for no limit.
        verdicts: only these; all when empty.
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
    """A verdict as it was published, its heatmap if it had one, and the file of its picture if that was kept."""

    verdict: Verdict
    heatmap: Heatmap | None
    picture: Path | None


class JournalReader(Closing):
    """Reads a journal through a connection of its own that cannot write.

    Raises:
        DataError: there is none, or it is none, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f"there is no journal {path}; give the path that stands under [journal] of the line file")
        try:
            self._connection = open_reader(path)
        except sqlite3.Error as error:
            raise DataError(f"{path} cannot be opened ({error})") from error
        try:
            version = schema_version(self._connection)
        except sqlite3.Error as error:
            self._connection.close()
            raise DataError(f"{path} cannot be read as a journal ({error})") from error
        if version != SCHEMA_VERSION:
            self._connection.close()
            raise DataError(
                f"{path} is a journal of version {version} and this Taktline reads version {SCHEMA_VERSION}; use the "
                "Taktline that wrote it"
            )

    def series(self, cameras: Sequence[str] = ()) -> list[Series]:
        """Returns what there is of some cameras (of all when empty), in the order in which it was written.

        Of a camera only the last 64 epochs are told.
        """
        known = [camera for (camera,) in self._connection.execute("SELECT camera FROM heads ORDER BY camera")]
        epochs = self._connection.execute(
            "SELECT number, id FROM epochs ORDER BY number DESC LIMIT ?", (_MOST_SERIES,)
        ).fetchall()
        found = []
        for camera in known:
            if cameras and camera not in cameras:
                continue
            for number, epoch in reversed(epochs):
                # Two queries, because SQLite finds only one end of an index at once.
                ends = [
                    self._connection.execute(
                        f"SELECT {end}(sequence) FROM verdicts WHERE camera = ? AND epoch = ?", (camera, number)
                    ).fetchone()[0]
                    for end in ("min", "max")
                ]
                if None not in ends:
                    found.append(Series(camera, epoch, *ends))
        return found

    def read(self, camera: str, epoch: str, first: int, last: int, most: int) -> list[Entry]:
        """Returns what there is from `first` to `last` of a camera in an epoch, at most so many, in their order."""
        rows = self._connection.execute(
            f"SELECT {_ENTRY} {_FROM} WHERE camera = ? AND verdicts.epoch = (SELECT number FROM epochs WHERE id = ?) "
            "AND sequence BETWEEN ? AND ? ORDER BY sequence LIMIT ?",
            (camera, epoch, first, last, most),
        )
        return [Entry(*row) for row in rows]

    def find(self, selection: Selection, most: int | None = None) -> Iterator[Found]:
        """Yields what was selected, the oldest first; with `most` the newest so many.

        Raises:
            WireError: a verdict cannot be read.
        """
        where, values = selection.where
        lowest = 0
        if most is not None:
            chosen = f"SELECT id FROM verdicts WHERE {where} ORDER BY id DESC LIMIT ?"
            found = self._connection.execute(f"SELECT min(id) FROM ({chosen})", [*values, most]).fetchone()[0]
            lowest = found or 0
        root = picture_folder(self.path)
        while True:
            # Anew for each part: an export that takes long must not keep the writer's log from being shortened.
            rows = self._connection.execute(
                f"SELECT verdicts.id, picture, {_ENTRY} {_FROM} WHERE verdicts.id >= ? AND {where} "
                "ORDER BY verdicts.id LIMIT ?",
                [lowest, *values, _AT_ONCE],
            ).fetchall()
            for _, picture, *row in rows:
                verdict, heatmap = unpack(Entry(*row).parts)
                yield Found(verdict, heatmap, None if picture is None else root / picture)
            if len(rows) < _AT_ONCE:
                return
            lowest = rows[-1][0] + 1

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()
