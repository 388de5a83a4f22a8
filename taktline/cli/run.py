"""`taktline run`, and what every command needs whose line runs in its own process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from engines.errors import LineHung
from taktline.cli.console import show, show_json, stderr
from taktline.cli.signals import on_signals

if TYPE_CHECKING:
    from pipeline.config.line_file import LineConfig
    from pipeline.line.line import Line
    from taktline.cli.summary import RunSummary

SummaryFlag = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def run(
    line_file: Annotated[Path, typer.Argument(help="Line file (TOML).")],
    as_json: SummaryFlag = False,
) -> None:
    """Run a line from its file until its sources end, or until Ctrl-C or SIGTERM.

    Example: taktline run line.toml
    """
    from pipeline.config.line_file import read_line_file
    from pipeline.config.sections import ControlSection
    from taktline.cli.summary import RunSummary

    config = read_line_file(line_file)
    if config.control.bind is None:
        config = config.model_copy(update={"control": ControlSection(bind="auto")})
    summary = RunSummary()
    with open_line(config) as line:
        line.start()
        stderr().print(
            f"line [bold]{escape(config.line.name)}[/] runs: {len(config.camera)} camera(s), {line.model.engine.name} "
            f"{line.model.engine.precision}, verdicts on {line.publisher.address}"
        )
        for decided in line.decided():
            summary.add(decided.verdict, decided.frame.label)
        show_summary(summary, as_json, stderr())


@contextmanager
def open_line(config: LineConfig) -> Iterator[Line]:
    """Builds a watched line, drains it on SIGINT or SIGTERM, and closes it at the end.

    Raises:
        TaktlineError: it cannot be built.
        LineHung: parts of it hang and were left behind.
    """
    from pipeline.line.build import build_line

    line = build_line(config, watched=True)
    # What is loaded by now stays. To look through all of it for garbage, again and again, would hold every verdict up.
    gc.freeze()
    try:
        with on_signals(line.drain):
            yield line
    finally:
        line.close()
        if line.hung:
            raise LineHung(f"the line ended, but these parts hang and were left behind: {', '.join(line.hung)}")


def show_summary(summary: RunSummary, as_json: bool, console: Console | None) -> None:
    """Shows what a line did: as JSON on standard output, or in tables on a console, by default the same."""
    from taktline.cli.run_tables import summary_tables

    if as_json:
        show_json(summary.to_json())
    else:
        show(*summary_tables(summary), console=console)
