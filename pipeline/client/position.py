"""How far a subscriber's verdicts were handed over, as plain values that a program can store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from pipeline.client.cursor import MOST_EARLIER


class Mark(TypedDict):
    """How far one camera's verdicts were handed over.

    Attributes:
        epoch: see `Verdict.epoch`.
        sequence: the last sequence; -1 for none.
        earlier: the last sequence of each earlier epoch.
    """

    epoch: str
    sequence: int
    earlier: NotRequired[dict[str, int]]


Position = dict[str, int | Mark]
Since = Mapping[str, int | Mark]


class Bookmarks:
    """Keeps a mark for each camera.

    Args:
        since: the initial marks.
    """

    def __init__(self, since: Since) -> None:
        self._marks: Position = dict(since)
        # Epochs that were skipped on purpose; they become part of the camera's next mark.
        self._skipped: dict[str, dict[str, int]] = {}

    @property
    def position(self) -> Position:
        """All marks."""
        return dict(self._marks)

    def skip(self, camera: str, epoch: str, last: int) -> None:
        """Notes that an epoch is skipped up to a sequence."""
        self._skipped.setdefault(camera, {})[epoch] = last

    def begin(self, camera: str, epoch: str, sequence: int) -> None:
        """Sets the first mark of a camera."""
        self._marks[camera] = Mark(epoch=epoch, sequence=sequence)

    def advance(self, camera: str, epoch: str, sequence: int) -> None:
        """Moves a camera's mark."""
        before, earlier = self._marks.get(camera), self._skipped.pop(camera, {})
        if before is not None and not isinstance(before, int):
            earlier |= before.get("earlier", {})
            earlier[before["epoch"]] = before["sequence"]
        earlier.pop(epoch, None)
        earlier = dict(list(earlier.items())[-MOST_EARLIER:])
        mark = Mark(epoch=epoch, sequence=sequence)
        if earlier:
            mark["earlier"] = earlier
        self._marks[camera] = mark
