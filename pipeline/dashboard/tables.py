"""Panels, facts and tables that several pages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nicegui import ui


def panel(title: str) -> ui.element:
    """Returns a panel with its title."""
    with ui.element("section").classes("panel") as made, ui.element("h2"):
        ui.label(title)
    return made


def facts(values: Mapping[str, str]) -> None:
    """Builds names with their values."""
    with ui.element("dl").classes("facts"):
        for name, text in values.items():
            with ui.element("dt"):
                ui.label(name)
            with ui.element("dd"):
                ui.label(text)


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Builds a plain table."""
    with ui.element("div").classes("scroll"), ui.element("table").classes("rows"):
        with ui.element("thead"), ui.element("tr"):
            for name in names:
                with ui.element("th").props('scope="col"'):
                    ui.label(name)
        with ui.element("tbody"):
            for row in rows:
                with ui.element("tr"):
                    for text in row:
                        with ui.element("td"):
                            ui.label(text)


def say(text: str) -> None:
    """Builds a sentence about what cannot be shown."""
    ui.label(text).classes("trouble")


def say_no_journal(line: str) -> None:
    """Says that there is no history of a line here."""
    say(
        f"The journal of {line} is not known here: the line has not answered yet, or it is on another machine. "
        "Give its journal under [[line]] in the dashboard file."
    )
