"""What a line's drift watch sees: how far good parts lie from those of calibration, and what it has told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from nicegui import ui

from engines.errors import TaktlineError
from pipeline.dashboard.tables import panel, say, table
from pipeline.journal.events import EventReader
from pipeline.protocol.event import Event

_MOST_EVENTS = 30
_SAYS = {"returned": "as at calibration again", "restarted": "another bundle: the watch began anew"}


def recent_events(journal: Path | None) -> Sequence[Event] | str:
    """Returns the newest events of a line's journal, or why they cannot be read."""
    if journal is None:
        return []
    try:
        with EventReader(journal) as reader:
            return reader.newest(_MOST_EVENTS)
    except TaktlineError as error:
        return str(error)


def drift_panel(status: Mapping[str, Any], events: Sequence[Event] | str) -> None:
    """Builds the panel; an older line has none."""
    drift = status.get("drift")
    if drift is None:
        return
    with panel("Do good parts look as at calibration?").classes("drift"):
        if drift["why_not"] is not None:
            ui.label(f"{drift['why_not']}.").classes("soft")
        rows = []
        for name, camera in drift["cameras"].items():
            moved = {one["quantity"]: one["words"] for one in camera["moved"]}
            rows += [
                (name, quantity, f"{level:+.1f}", moved.get(quantity, "as at calibration"))
                for quantity, level in camera["levels"].items()
            ]
        table(("camera", "quantity", "standard deviations away", "good parts are"), rows)
        if isinstance(events, str):
            say(f"{events}.")
            return
        ui.label("What the watch has told, newest first" if events else "The watch has told nothing yet.").classes(
            "soft"
        )
        if events:
            table(("when", "camera", "quantity", "what", "since frame"), [_row(event) for event in events])


def _row(event: Event) -> tuple[str, ...]:
    when = datetime.fromtimestamp(event.at / 1e9).strftime("%Y-%m-%d %H:%M:%S")
    return when, event.camera, event.quantity, _SAYS.get(event.kind, event.words), f"{event.since_sequence:,}"
