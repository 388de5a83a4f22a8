"""Lists the pictures that a journal keeps, each with its verdict and what a person said about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from engines.errors import DataError
from pipeline.journal.pictures import picture_folder
from pipeline.journal.read_only import ReadOnlyJournal
from pipeline.journal.search import WITH_LABEL, count_some
from pipeline.journal.selection import Selection

_MOST_COUNTED = 1_000_000
Truth = Literal["good", "defective"]


@dataclass(frozen=True)
class StoredPicture:
    """A part whose picture is kept.

    Attributes:
        camera: see `Verdict.camera`.
        sequence: see `Verdict.sequence`.
        captured_at: see `Verdict.captured_at`.
        verdict: what the line said: `ok`, `ng` or `uninspected`.
        label: what a person said about the verdict; None if nobody did.
        path: the picture's file.
    """

    camera: str
    sequence: int
    captured_at: int
    verdict: str
    label: str | None
    path: Path

    @property
    def name(self) -> str:
        """Camera and sequence."""
        return f"{self.camera} {self.sequence}"

    @property
    def truth(self) -> Truth | None:
        """What the part is, as a person says; None if nobody did."""
        if self.label == "false alarm":
            return "good"
        if self.label == "missed defect":
            return "defective"
        if self.label == "confirmed" and self.verdict in {"ok", "ng"}:
            return "good" if self.verdict == "ok" else "defective"
        return None

    @property
    def taken_for_good(self) -> bool:
        """Whether a person says that the part is good, or else the line did."""
        return self.truth == "good" or (self.truth is None and self.verdict == "ok")


class StoredPictures(ReadOnlyJournal):
    """Lists a journal's pictures; see `ReadOnlyJournal`.

    Attributes:
        gone: how many pictures that the journal names were not there, the last time it was asked.
    """

    gone = 0

    def find(self, selection: Selection) -> list[StoredPicture]:
        """Returns the selected pictures that are still there, oldest first.

        Args:
            selection: by camera, time and verdict; whatever else it asks for is left to its other readers.

        Raises:
            DataError: the selection asks for more than that.
        """
        if selection.needs_facts:
            raise DataError("pictures can be chosen by camera, time and verdict only")
        where, values = selection.where
        with self._reading():
            self._people.refresh()
            rows = self._connection.execute(
                f"SELECT v.camera, v.sequence, v.captured_at, v.verdict, l.label, v.picture FROM (SELECT * FROM "
                f"verdicts WHERE picture IS NOT NULL AND {where}) v CROSS JOIN epochs ON epochs.number = v.epoch "
                f"{WITH_LABEL} ORDER BY v.captured_at, v.id",
                values,
            ).fetchall()
        root = picture_folder(self.path).resolve()
        found = [
            StoredPicture(camera, sequence, captured_at, verdict, label, root / picture)
            for camera, sequence, captured_at, verdict, label, picture in rows
        ]
        # A row may name anything, and a link may lead anywhere.
        there = [one for one in found if one.path.resolve().is_relative_to(root) and one.path.is_file()]
        self.gone = len(found) - len(there)
        return there

    def unsure_share(self, selection: Selection) -> float | None:
        """Returns the share of selected `ok` and `ng` parts that are `ng` and that nobody labelled.

        Returns:
            None if there are no parts, or an earlier Taktline wrote the journal and it cannot be searched yet.
        """
        if self.unindexed is not None:
            return None
        judged = replace(selection, verdicts=("ok", "ng"))
        with self._reading():
            self._people.refresh()
            total = count_some(self._connection, judged, _MOST_COUNTED)
            unsure = count_some(self._connection, replace(judged, verdicts=("ng",), unlabelled=True), _MOST_COUNTED)
        return unsure / total if total else None
