"""`taktline journal verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from taktline.cli.console import show, show_json
from taktline.cli.journal.options import JournalArgument
from taktline.cli.options import JsonFlag
from taktline.cli.table import Column, ResultTable

if TYPE_CHECKING:
    from pipeline.journal.check import Verification


def verify(journal: JournalArgument, as_json: JsonFlag = False) -> None:
    """Check that no sequence is missing, every message can be read, and every picture exists.

    Exits with 1 if something is wrong.

    Example: taktline journal verify runs/press4.journal
    """
    from pipeline.journal.check import JournalCheck

    with JournalCheck(journal) as check:
        found = check.run()
    if as_json:
        show_json(found.to_json())
    else:
        show(check_table(found, journal), *(Text(fault, "red") for fault in found.faults))
    if not found.good:
        raise typer.Exit(1)


def check_table(found: Verification, journal: Path) -> ResultTable:
    """Shows the result of checking a journal."""
    state = ("whole", "green") if found.good else ("not whole", "bold red")
    columns = map(Column, ("verdicts", "pictures", "epochs", "journaled late"))
    table = ResultTable(*columns, title=Text.assemble(f"{journal}: ", state))
    table.add_row(str(found.verdicts), str(found.pictures), str(found.epochs), str(found.waited))
    return table
