"""Which stored pictures a command works on: those of a folder, or those of a journal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engines.errors import ConfigError, DataError
from taktline.cli.console import stderr
from taktline.cli.journal.options import Filter
from taktline.cli.options import CamerasOption

if TYPE_CHECKING:
    from calibration.addition import Addition
    from pipeline.journal.stored import StoredPicture

# Where more of the parts than this were rejected and not labelled, what is known to be good is not what good parts are.
MOST_UNSURE = 0.1


@dataclass(frozen=True)
class FromJournal:
    """The stored pictures of a journal."""

    journal: Annotated[Path | None, typer.Option(help="Take the pictures that this journal keeps instead.")] = None
    camera: CamerasOption = None
    since: Annotated[str | None, typer.Option("--from", help="Captured at or after, such as 2025-03-01T06:00.")] = None
    until: Annotated[str | None, typer.Option("--to", help="Captured before.")] = None

    def check(self, folder: Path | None, what: str) -> None:
        """Refuses anything but a folder or a journal.

        Raises:
            ConfigError: both were given, or none, or a filter without a journal.
        """
        if (folder is None) == (self.journal is None):
            raise ConfigError(f"give {what}, or --journal and a line's journal, and not both")
        if self.journal is None and (self.camera or self.since or self.until):
            raise ConfigError("--camera, --from and --to choose pictures of a --journal; give that too")

    def pictures(self) -> tuple[list[StoredPicture], float | None]:
        """Returns the chosen pictures of the journal, oldest first, and the share of parts that may be false alarms.

        Raises:
            TaktlineError: the journal cannot be read, or keeps no such pictures.
        """
        from pipeline.journal.pictures import picture_folder
        from pipeline.journal.stored import StoredPictures

        assert self.journal is not None
        selection = Filter(camera=self.camera, since=self.since, until=self.until).selection()
        with StoredPictures(self.journal) as stored:
            found = stored.find(selection)
            if not found and stored.gone:
                raise DataError(
                    f"the {stored.gone} pictures that {self.journal} names are gone; copy the folder "
                    f"{picture_folder(self.journal).name} beside it, or give another --from and --to"
                )
            if not found:
                raise DataError(
                    f"{self.journal} keeps no such pictures; set keep_images to 'all' or 'ng+0.01' under [journal], or "
                    "give another --from and --to"
                )
            if stored.gone:
                left = f"{stored.gone} pictures that the journal names are gone; {len(found)} are left"
                stderr().print(f"[yellow]Warning: {left}.[/]")
            return found, stored.unsure_share(selection)


@dataclass(frozen=True)
class AddedJournal:
    """The parts of a journal that a calibration takes besides its data set."""

    add_journal: Annotated[
        Path | None,
        typer.Option(help="Learn from the good parts of this line's journal as well; check with the others."),
    ] = None
    unlabelled: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of its accepted parts that nobody labelled, to learn from."),
    ] = 0.5
    camera: CamerasOption = None
    since: Annotated[str | None, typer.Option("--from", help="Captured at or after, such as 2025-03-01T06:00.")] = None
    until: Annotated[str | None, typer.Option("--to", help="Captured before.")] = None

    def addition(self) -> Addition | None:
        """Returns these parts; None if no journal was given.

        Raises:
            TaktlineError: the journal cannot be read, or keeps no such pictures.
        """
        from calibration.addition import Addition

        if self.add_journal is None:
            if self.camera or self.since or self.until:
                raise ConfigError("--camera, --from and --to choose pictures of --add-journal; give that too")
            return None
        pictures, unsure = FromJournal(self.add_journal, self.camera, self.since, self.until).pictures()
        if unsure is not None and unsure > MOST_UNSURE:
            stderr().print(
                f"[yellow]Warning: {unsure:.0%} of the parts were rejected and have no label; those that are good are "
                "missing here.[/]"
            )

        def those(verdict: str, truth: str | None) -> tuple[Path, ...]:
            return tuple(one.path for one in pictures if (one.verdict, one.truth) == (verdict, truth))

        return Addition(
            self.add_journal.name, those("ng", "good"), those("ok", "good"), those("ok", None),
            those("ok", "defective"), those("ng", "defective"), self.unlabelled,
        )  # fmt: skip
