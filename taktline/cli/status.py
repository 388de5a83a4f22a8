"""`taktline status`, and a line's status in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from taktline.cli.console import show, show_json
from taktline.cli.options import JsonFlag
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from pipeline.publish.metrics import Status

_COUNTS = ("ok", "ng", "dropped", "late", "corrupt", "engine_error")


def status(
    url: Annotated[str, typer.Argument(help="Address of the line's health server.")] = ("http://127.0.0.1:9108"),
    as_json: JsonFlag = False,
) -> None:
    """Ask a running line for its status. Exits with 1 if it is not ready.

    Example: taktline status http://127.0.0.1:9108
    """
    from pipeline.publish.health import fetch_status

    found = fetch_status(url)
    if as_json:
        show_json(found)
    else:
        show(*status_tables(found))
    if not found["ready"]:
        raise typer.Exit(1)


def status_tables(status: Status) -> list[RenderableType]:
    """Shows each camera's counts, what is wrong if the line is not ready, and the journal's state."""
    from pipeline.publish.troubles import line_troubles

    engine = status["engine"]
    state = ("ready", "green") if status["ready"] else ("not ready", "red") if status["live"] else ("down", "bold red")
    title = Text.assemble(f"line {status['line']}: ", state, f"   {engine['name']} {engine['precision']}")
    names = (name.replace("_", " ") for name in _COUNTS)
    table = ResultTable("camera", "frames", "last frame", *names, title=title)
    for name, camera in status["cameras"].items():
        last = camera["last_frame_s"]
        counts = [str(camera["verdicts"].get(key, 0)) for key in _COUNTS]
        table.add_row(name, str(camera["frames"]), "-" if last is None else f"{last:.1f} s ago", *counts)
    sentences = [Text(sentence, "yellow") for sentence in line_troubles(status)]
    return [table, *sentences, *journal_text(status.get("journal")), *shadow_text(status.get("shadow"))]


def shadow_text(shadow: dict[str, Any] | None) -> list[Text]:
    """Describes a line's shadow run."""
    if shadow is None:
        return []
    said = (
        f"shadow run of {shadow['bundle']}: {shadow['judged']} of {shadow['wanted']} parts judged, "
        f"{shadow['skipped']} skipped, {shadow['differing']} verdicts differ"
    )
    if shadow["state"] == "ended":
        return [Text(f"{said}; it ended: {shadow['reason']}", "yellow")]
    return [Text(f"{said}; {shadow['state']}")]


def journal_text(journal: dict[str, Any] | None) -> list[Text]:
    """Describes a line's journal, in red if it lacks published verdicts."""
    from pipeline.publish.troubles import journal_troubles, unjournaled

    if journal is None:
        return []
    pictures = journal["pictures"]
    text = f"journal: {journal['journaled']} verdicts, {pictures['kept']} pictures, {pictures['dropped']} not kept"
    troubles = [Text(trouble, "bold red") for trouble in journal_troubles(journal)]
    late = unjournaled(journal)
    return [Text(text) if late is None else Text(f"{text}; {late}", "red"), *troubles]
