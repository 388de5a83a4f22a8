"""Output of commands: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from calibration.progress import Reporter


def show(*items: RenderableType, console: Console | None = None) -> None:
    """Prints tables and texts to stdout, or to another console.

    A string may contain rich markup; a `Text` is printed unchanged. Neither is wrapped at the terminal's width, so that
    paths can be copied.
    """
    console = console or Console(highlight=False)
    for item in items:
        console.print(item, soft_wrap=isinstance(item, str | Text))


def show_json(values: Any) -> None:
    """Prints a value to stdout as one line of JSON."""
    typer.echo(json.dumps(values))


def stderr() -> Console:
    """Returns the console for everything except results."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def progress_bars(console: Console | None = None) -> Iterator[Reporter]:
    """Shows a progress bar with the remaining time for each step; on stderr by default."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console or stderr()) as progress:
        tasks: dict[str, TaskID] = {}

        def report(task: str, done: int, total: int, note: str = "") -> None:
            if task not in tasks:
                tasks[task] = progress.add_task(task, total=total, note=note)
            progress.update(tasks[task], completed=done, total=total, note=note)

        yield report
