"""`taktline journal query`, `export` and `verify`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.text import Text

from engines.errors import ConfigError, DataError
from taktline.cli.console import show, show_json
from taktline.cli.options import CamerasOption, JsonFlag, JsonLinesFlag
from taktline.cli.table import Column, ResultTable

if TYPE_CHECKING:
    from pipeline.journal.check import Verification
    from pipeline.journal.reader import JournalReader, Selection

JournalArgument = Annotated[Path, typer.Argument(help="The line's journal file.")]
VerdictsOption = Annotated[list[str] | None, typer.Option("--verdict", help="ok, ng or uninspected. Repeat for more.")]
SinceOption = Annotated[str | None, typer.Option("--from", help="Captured at or after, such as 2025-03-01T06:00.")]
UntilOption = Annotated[str | None, typer.Option("--to", help="Captured before.")]


def build_journal() -> typer.Typer:
    """Returns the commands under `taktline journal`."""
    app = typer.Typer(name="journal", no_args_is_help=True, help="Query, export or check a line's journal.")
    for command in (query, export, verify):
        app.command()(command)
    return app


def query(
    journal: JournalArgument,
    camera: CamerasOption = None,
    verdict: VerdictsOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="Show at most this many, the newest.")] = 50,
    as_json: JsonLinesFlag = False,
) -> None:
    """Show the verdicts in a journal. The line may be running.

    Example: taktline journal query runs/press4.journal --verdict ng --from 2025-03-01
    """
    from pipeline.journal.reader import JournalReader
    from taktline.cli.verdict_text import verdict_text

    selection = _selection(camera, verdict, since, until)
    with JournalReader(journal) as reader:
        for found in reader.find(selection, limit):
            if as_json:
                picture = None if found.picture is None else str(found.picture)
                show_json(found.verdict.to_json() | {"picture": picture})
            else:
                day = datetime.fromtimestamp(found.verdict.captured_at / 1e9).strftime("%Y-%m-%d ")
                show(Text(day).append_text(verdict_text(found.verdict)))
        _check_whole(reader)


def export(
    journal: JournalArgument,
    out: Annotated[Path, typer.Argument(help="File to write: .csv, .jsonl, .parquet, or .zip for the pictures.")],
    camera: CamerasOption = None,
    verdict: VerdictsOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Export a journal as CSV, JSON Lines, Parquet, or a zip of pictures.

    Example: taktline journal export runs/press4.journal ng.csv --verdict ng
    """
    from pipeline.journal.export import export as write_export
    from pipeline.journal.reader import JournalReader

    selection = _selection(camera, verdict, since, until)
    with JournalReader(journal) as reader:
        count = write_export(reader.find(selection), out)
    what = "pictures" if out.suffix.lower() == ".zip" else "verdicts"
    if as_json:
        show_json({"file": str(out), what: count})
    else:
        show(Text(f"{count} {what} in {out}"))
    _check_whole(reader)


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


def _check_whole(reader: JournalReader) -> None:
    if reader.skipped:
        raise DataError(
            f"{reader.skipped} verdicts were skipped because they are damaged or another Taktline wrote them; "
            f"`taktline journal verify {reader.path}` says which"
        )


def _selection(
    cameras: Sequence[str] | None, verdicts: Sequence[str] | None, since: str | None, until: str | None
) -> Selection:
    from pipeline.journal.reader import Selection
    from pipeline.protocol.verdict import Outcome

    known = {name: name for name in get_args(Outcome)}
    for name in verdicts or ():
        if name not in known:
            raise ConfigError(f"there is no verdict '{name}'; give {', '.join(known)}")
    return Selection(
        tuple(cameras or ()), _moment(since), _moment(until), tuple(known[name] for name in verdicts or ())
    )


def _moment(text: str | None) -> int | None:
    """Returns a point in time in nanoseconds; without a time zone, the text is in local time."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1e9)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"'{text}' is not a date or time; give one like 2025-03-01 or 2025-03-01T06:00") from error
