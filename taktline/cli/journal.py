"""The command line's way into a journal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.console import Console
from rich.table import Table

from engines.errors import ConfigError
from pipeline.journal.check import JournalCheck
from pipeline.journal.export import export as write_export
from pipeline.journal.reader import JournalReader, Selection
from pipeline.protocol.verdict import Outcome
from taktline.cli.views import verdict_text

Journal = Annotated[Path, typer.Argument(help="The journal, as [journal] path of the line file names it.")]
Cameras = Annotated[list[str] | None, typer.Option("--camera", help="Only this camera; may be given again.")]
Verdicts = Annotated[list[str] | None, typer.Option("--verdict", help="ok, ng or uninspected; may be given again.")]
Since = Annotated[str | None, typer.Option("--from", help="Captured then or later, such as 2025-03-01T06:00.")]
Until = Annotated[str | None, typer.Option("--to", help="Captured before then.")]


def query(
    journal: Journal,
    camera: Cameras = None,
    verdict: Verdicts = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Show what a journal holds, also while its line runs.

    Example: taktline journal query runs/press4.journal --verdict ng --from 2025-03-01
    """
    selection = _selection(camera, verdict, since, until)
    console = Console(soft_wrap=True, highlight=False)
    with JournalReader(journal) as reader:
        for found in reader.find(selection, limit):
            if as_json:
                picture = None if found.picture is None else str(found.picture)
                typer.echo(json.dumps(found.verdict.to_json() | {"picture": picture}))
            else:
                day = datetime.fromtimestamp(found.verdict.captured_at / 1e9).strftime("%Y-%m-%d")
                console.print(day, verdict_text(found.verdict))


def export(
    journal: Journal,
    out: Annotated[Path, typer.Argument(help="File to write: .csv, .jsonl, .parquet, or .zip for the pictures.")],
    camera: Cameras = None,
    verdict: Verdicts = None,
    since: Since = None,
    until: Until = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write what a journal holds into a file for other programs.

    Example: taktline journal export runs/press4.journal ng.csv --verdict ng
    """
    selection = _selection(camera, verdict, since, until)
    with JournalReader(journal) as reader:
        count = write_export(reader.find(selection), out)
    what = "pictures" if out.suffix.lower() == ".zip" else "verdicts"
    if as_json:
        typer.echo(json.dumps({"file": str(out), what: count}))
    else:
        Console().print(f"{count} {what} in {out}", soft_wrap=True, highlight=False)


def verify(
    journal: Journal,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check that a journal is whole: no sequence missing, every message readable, every picture there.

    Exits with 1 where it is not.

    Example: taktline journal verify runs/press4.journal
    """
    with JournalCheck(journal) as check:
        found = check.run()
    if as_json:
        typer.echo(json.dumps(found.to_json()))
    else:
        table = Table(title=f"{journal}: {'[green]whole[/]' if found.good else '[bold red]not whole[/]'}")
        for name in ("verdicts", "pictures", "epochs", "not journaled at once"):
            table.add_column(name, justify="right")
        table.add_row(str(found.verdicts), str(found.pictures), str(found.epochs), str(found.waited))
        console = Console(soft_wrap=True, highlight=False)
        console.print(table)
        for fault in found.faults:
            console.print(fault, style="red", markup=False)
    if not found.good:
        raise typer.Exit(1)


def build_journal() -> typer.Typer:
    """Returns the commands under `taktline journal`."""
    app = typer.Typer(name="journal", no_args_is_help=True, help="Look into a line's journal, check it, export it.")
    for command in (query, export, verify):
        app.command()(command)
    return app


def _selection(
    cameras: Sequence[str] | None, verdicts: Sequence[str] | None, since: str | None, until: str | None
) -> Selection:
    known = {name: name for name in get_args(Outcome)}
    for name in verdicts or ():
        if name not in known:
            raise ConfigError(f"'{name}' is no verdict; give {', '.join(known)}")
    return Selection(
        tuple(cameras or ()), _moment(since), _moment(until), tuple(known[name] for name in verdicts or ())
    )


def _moment(text: str | None) -> int | None:
    """Reads a point in time; one without a zone is this machine's."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1e9)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"'{text}' is no date or time; give one like 2025-03-01 or 2025-03-01T06:00") from error
