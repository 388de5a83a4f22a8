"""`taktline journal export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from taktline.cli.console import show, show_json
from taktline.cli.journal.options import Filter, JournalArgument, check_whole
from taktline.cli.options import JsonFlag, flatten


@flatten
def export(
    journal: JournalArgument,
    out: Annotated[Path, typer.Argument(help="File to write: .csv, .jsonl, .parquet, or .zip for the pictures.")],
    wanted: Filter,
    as_json: JsonFlag = False,
) -> None:
    """Export a journal as CSV, JSON Lines, Parquet, or a zip of pictures, with the labels.

    Example: taktline journal export runs/press4.journal ng.csv --verdict ng
    """
    from pipeline.journal.export import export as write_export
    from pipeline.journal.reader import JournalReader

    selection = wanted.selection()
    with JournalReader(journal) as reader:
        count = write_export(reader.find(selection), out)
    what = "pictures" if out.suffix.lower() == ".zip" else "verdicts"
    if as_json:
        show_json({"file": str(out), what: count})
    else:
        show(Text(f"{count} {what} in {out}"))
    check_whole(reader)
