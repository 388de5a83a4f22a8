"""History: a journal's verdicts as people look at them, newest first, a page at a time.

A search reads the table of facts alone (see `pipeline.journal.facts`), so that the first page of a million verdicts
comes within 300 ms for every filter; `taktline bench history` measures it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engines.errors import DataError
from pipeline.journal.facts import count_unindexed
from pipeline.journal.file import SCHEMA_VERSION, schema_version
from pipeline.journal.labels import VerdictKey
from pipeline.journal.pictures import heatmap_path, picture_folder
from pipeline.journal.read_only import ReadOnlyJournal
from pipeline.journal.search import Found, Key, count_some, find_one, next_key, search
from pipeline.journal.selection import Selection
from pipeline.journal.trends import Trend, read_trends
from pipeline.protocol.verdict import WireError

MOST_COUNTED = 10_000
_MOST_PAGE = 1_000
_MOST_PICTURE_BYTES = 64 << 20


@dataclass(frozen=True)
class Page:
    """A page of history, newest first.

    Attributes:
        found: its verdicts.
        after: give this to get the next page; None if this is the last one.
        skipped: how many verdicts of the page are damaged or have another wire version.
    """

    found: tuple[Found, ...]
    after: Key | None
    skipped: int


@dataclass(frozen=True)
class Count:
    """How many verdicts a selection has.

    Attributes:
        number: how many were counted.
        more: whether there are more than these.
    """

    number: int
    more: bool


class History(ReadOnlyJournal):
    """Looks through a journal, while its line may be writing to it. May be used by one thread at a time.

    It may stay open for days: where the line begins a new journal, it goes on with that. Verdicts that an earlier
    Taktline wrote appear once they can be searched: see `unsearched`.

    Args:
        path: the journal.
    """

    def page(self, selection: Selection, after: Key | None = None, size: int = 50) -> Page:
        """Returns the newest selected verdicts, or those that follow an earlier page.

        Args:
            selection: which.
            after: `Page.after` of the page before; None for the first.
            size: at most so many, up to a thousand.
        """
        size = min(max(size, 1), _MOST_PAGE)
        with self._searching():
            rows = search(self._connection, selection, size, after)
        root, found = picture_folder(self.path), []
        for row in rows:
            try:
                found.append(row.read(root))
            except WireError:
                continue
        return Page(tuple(found), rows[-1].key if len(rows) == size else None, len(rows) - len(found))

    def count(self, selection: Selection, most: int = MOST_COUNTED) -> Count:
        """Counts the selected verdicts, up to a limit: all of a million take too long to wait for."""
        with self._searching():
            number = count_some(self._connection, selection, most + 1)
        return Count(min(number, most), number > most)

    def neighbours(self, selection: Selection, key: Key) -> tuple[Key | None, Key | None]:
        """Returns the keys of the next newer and the next older selected verdict; None where there is none."""
        with self._searching():
            newer = next_key(self._connection, selection, key, newer=True)
            return newer, next_key(self._connection, selection, key, newer=False)

    def find(self, verdict: VerdictKey) -> Found | None:
        """Returns one verdict; None if the journal does not hold it.

        Raises:
            DataError: it is damaged or has another wire version.
        """
        with self._searching():
            row = find_one(self._connection, *verdict)
        try:
            return None if row is None else row.read(picture_folder(self.path))
        except WireError as error:
            raise DataError(f"camera {verdict.camera}, sequence {verdict.sequence} cannot be read ({error})") from error

    def at(self, key: Key) -> Found | None:
        """Returns the verdict with a key; see `find`."""
        return self.find(VerdictKey(key.camera, key.epoch, key.sequence))

    def picture(self, verdict: VerdictKey) -> bytes | None:
        """Returns the picture of a frame as a JPEG; None if none was kept."""
        return self._file(verdict, heatmap=False)

    def heatmap(self, verdict: VerdictKey) -> bytes | None:
        """Returns the heatmap that was kept with a frame's picture as a PNG in grey; None if there is none."""
        return self._file(verdict, heatmap=True)

    def trends(self, selection: Selection, edges: list[int]) -> list[Trend]:
        """Returns what happened in each of some intervals; see `read_trends`."""
        with self._searching():
            return read_trends(self._connection, selection, edges)

    @property
    def unsearched(self) -> int:
        """How many verdicts cannot be searched yet, because an earlier Taktline wrote them."""
        self._follow()
        last = self.unindexed
        if last is None:
            return 0
        with self._reading():
            return count_unindexed(self._connection, last)

    @contextmanager
    def _searching(self) -> Iterator[None]:
        self._follow()
        with self._reading():
            if schema_version(self._connection) != SCHEMA_VERSION:
                raise DataError(
                    f"the journal {self.path} was written by an earlier Taktline; start its line, or make it "
                    f"searchable with `taktline journal index {self.path}`"
                )
            self._people.refresh()
            yield

    def _file(self, verdict: VerdictKey, *, heatmap: bool) -> bytes | None:
        with self._searching():
            row = find_one(self._connection, *verdict)
        if row is None or row.picture is None:
            return None
        root = picture_folder(self.path)
        return _read_inside(root, heatmap_path(root / row.picture) if heatmap else root / row.picture)


def _read_inside(root: Path, path: Path) -> bytes | None:
    """Reads a file if it really lies in a folder: a row may name anything, and a link may lead anywhere."""
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root.resolve(strict=True)) or not real.is_file():
            return None
        if real.stat().st_size > _MOST_PICTURE_BYTES:
            return None
        return real.read_bytes()
    except (OSError, RuntimeError):
        # The line has removed it since.
        return None
