"""Which stored pictures a command works on: those of a folder, or those of a journal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engines.errors import ConfigError, DataError
from taktline.cli.journal.options import Filter
from taktline.cli.options import CamerasOption

if TYPE_CHECKING:
    from pipeline.journal.stored import StoredPicture


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
        from pipeline.journal.stored import StoredPictures

        assert self.journal is not None
        selection = Filter(camera=self.camera, since=self.since, until=self.until).selection()
        with StoredPictures(self.journal) as stored:
            found = stored.find(selection)
            if not found:
                raise DataError(
                    f"{self.journal} keeps no such pictures; set keep_images to 'all' or 'ng+0.01' under [journal], or "
                    "give another --from and --to"
                )
            return found, stored.unsure_share(selection)
