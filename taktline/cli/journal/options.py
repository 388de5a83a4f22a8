"""Options that choose verdicts of a journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, get_args

import typer

from engines.errors import ConfigError, DataError
from taktline.cli.options import CamerasOption

if TYPE_CHECKING:
    from pipeline.journal.reader import JournalReader
    from pipeline.journal.selection import Selection

JournalArgument = Annotated[Path, typer.Argument(help="The line's journal file.")]
_UNLABELLED = "none"
_Name = TypeVar("_Name", bound=str)


@dataclass(frozen=True)
class Filter:
    """Which verdicts to take."""

    camera: CamerasOption = None
    verdict: Annotated[list[str] | None, typer.Option("--verdict", help="ok, ng or uninspected. Repeat for more.")] = (
        None
    )
    reason: Annotated[
        list[str] | None, typer.Option("--reason", help="Uninspected because of this. Repeat for more.")
    ] = None
    since: Annotated[str | None, typer.Option("--from", help="Captured at or after, such as 2025-03-01T06:00.")] = None
    until: Annotated[str | None, typer.Option("--to", help="Captured before.")] = None
    part: Annotated[
        str | None, typer.Option("--part", help="Id of the part; with a * at its end, all that begin like it.")
    ] = None
    lowest: Annotated[float | None, typer.Option("--min-score", help="With at least this score, in sigma.")] = None
    highest: Annotated[float | None, typer.Option("--max-score", help="With at most this score, in sigma.")] = None
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="'false alarm', 'missed defect', 'confirmed', or 'none'. Repeat for more."),
    ] = None

    def selection(self) -> Selection:
        """Returns the selection.

        Raises:
            ConfigError: an option names something that does not exist.
        """
        from pipeline.journal.labels import check_label
        from pipeline.journal.selection import Selection
        from pipeline.protocol.verdict import Outcome, Reason

        unlabelled = bool(self.label) and _UNLABELLED in (self.label or ())
        labels = tuple(check_label(text) for text in self.label or () if text != _UNLABELLED)
        if unlabelled and labels:
            raise ConfigError("--label none cannot be combined with other labels; run the command once for each")
        return Selection(
            tuple(self.camera or ()), _moment(self.since), _moment(self.until),
            _known("verdict", self.verdict, get_args(Outcome)), _known("reason", self.reason, get_args(Reason)),
            self.part, self.lowest, self.highest, labels, unlabelled,
        )  # fmt: skip


def check_whole(reader: JournalReader) -> None:
    """Ends a command with an error if verdicts had to be skipped.

    Raises:
        DataError: some were.
    """
    if reader.skipped:
        raise DataError(
            f"{reader.skipped} verdicts were skipped because they are damaged or another Taktline wrote them; "
            f"`taktline journal verify {reader.path}` says which"
        )


def _known(what: str, names: Sequence[str] | None, known: tuple[_Name, ...]) -> tuple[_Name, ...]:
    found = []
    for name in names or ():
        match = next((one for one in known if one == name), None)
        if match is None:
            raise ConfigError(f"there is no {what} '{name}'; give {', '.join(known)}")
        found.append(match)
    return tuple(found)


def _moment(text: str | None) -> int | None:
    """Returns a point in time in nanoseconds; without a time zone, the text is in local time."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1e9)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"'{text}' is not a date or time; give one like 2025-03-01 or 2025-03-01T06:00") from error
