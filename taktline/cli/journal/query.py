"""`taktline journal query`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from taktline.cli.console import show, show_json
from taktline.cli.journal.options import Filter, JournalArgument, check_whole
from taktline.cli.options import JsonLinesFlag, flatten


@flatten
def query(
    journal: JournalArgument,
    wanted: Filter,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="Show at most this many, the newest.")] = 50,
    as_json: JsonLinesFlag = False,
) -> None:
    """Show the verdicts in a journal, with their labels. The line may be running.

    Example: taktline journal query runs/press4.journal --verdict ng --from 2025-03-01
    """
    from pipeline.journal.reader import JournalReader
    from taktline.cli.verdict_text import verdict_text

    selection = wanted.selection()
    with JournalReader(journal) as reader:
        for found in reader.find(selection, limit):
            if as_json:
                picture = None if found.picture is None else str(found.picture)
                show_json(found.verdict.to_json() | {"picture": picture})
            else:
                day = datetime.fromtimestamp(found.verdict.captured_at / 1e9).strftime("%Y-%m-%d ")
                show(Text(day).append_text(verdict_text(found.verdict)))
        check_whole(reader)
