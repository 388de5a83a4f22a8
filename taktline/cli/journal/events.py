"""`taktline journal events`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from engines.errors import DataError
from taktline.cli.console import show, show_json
from taktline.cli.journal.options import JournalArgument
from taktline.cli.options import JsonLinesFlag


def events(
    journal: JournalArgument,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Show at most this many, the newest.")] = 50,
    as_json: JsonLinesFlag = False,
) -> None:
    """Show what a line's drift watch told, newest first. The line may be running.

    Example: taktline journal events runs/press4.journal
    """
    from pipeline.journal.events import EventReader
    from pipeline.protocol.event import event_sentence

    with EventReader(journal) as reader:
        for event in reader.newest(limit):
            if as_json:
                show_json(event.to_json())
            else:
                moment = datetime.fromtimestamp(event.at / 1e9).strftime("%Y-%m-%d %H:%M:%S ")
                remedy = f"; {event.remedy}" if event.remedy else ""
                show(Text.assemble((moment, "dim"), f"{event_sentence(event)}{remedy}"))
        if reader.skipped:
            raise DataError(f"{reader.skipped} events were left out because another version of Taktline wrote them")
