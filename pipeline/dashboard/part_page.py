"""One part in large: picture, heatmap, regions, where its time went, and what people say about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from engines.errors import TaktlineError
from pipeline.dashboard.background import carry_out, read
from pipeline.dashboard.charts import split_chart
from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.fields import element
from pipeline.dashboard.filters import Filters, write_key
from pipeline.dashboard.frame import button
from pipeline.dashboard.history_page import moment, picture_address, verdict_mark
from pipeline.dashboard.live_page import PictureView, ViewBar
from pipeline.dashboard.orders import Orders
from pipeline.dashboard.sessions import Session
from pipeline.dashboard.snapshot import grid_values
from pipeline.dashboard.store_history import HistoryPlace, StorePlace, open_history
from pipeline.dashboard.tables import facts, say, say_no_journal
from pipeline.journal.labels import VerdictKey
from pipeline.journal.search import Found, Key
from pipeline.protocol.label import MOST_NOTE_BYTES, Label, Said

# Each label with its key on the keyboard.
_SHORTCUTS: dict[str, tuple[Said | None, str]] = {
    "1": ("false alarm", "false alarm"),
    "2": ("missed defect", "missed defect"),
    "3": ("confirmed", "confirmed"),
    "0": (None, "no label"),
}


@dataclass(frozen=True)
class _Seen:
    found: Found | None
    newer: Key | None
    older: Key | None


async def part_page(
    feed: LineFeed, filters: Filters, key: Key, session: Session, orders: Orders, *, may_label: bool
) -> None:
    """Builds the page of one part."""
    place = feed.history
    if place is None:
        say_no_journal(feed.name)
        return
    try:
        seen = await read(_look, place, filters, key)
    except TaktlineError as error:
        say(f"{error}.")
        return
    if seen.found is None:
        say("The history no longer holds this part.")
        ui.link("back to history", filters.address("/history"))
        return
    _way(filters, seen)
    with ui.element("div").classes("part-view"):
        with ui.element("div").classes("part-picture"):
            ViewBar()
            PictureView("part", "the part", "No picture of this part was kept.", _picture(feed.name, seen.found))
        with ui.element("div").classes("part-facts"):
            _facts(feed.name, seen.found)
            _labels(feed, session, orders, seen.found, may_label=may_label)


def _look(place: HistoryPlace, filters: Filters, key: Key) -> _Seen:
    with open_history(place) as history:
        found = history.at(key)
        if found is None:
            return _Seen(None, None, None)
        return _Seen(found, *history.neighbours(filters.selection, Key.of(found.verdict)))


def _picture(line: str, found: Found) -> dict[str, Any]:
    verdict = found.verdict
    return {
        "url": None if found.picture is None else picture_address(line, Key.of(verdict)),
        "sequence": verdict.sequence,
        "size": None,
        "caption": verdict.part or f"#{verdict.sequence}",
        "regions": [[region.x, region.y, region.w, region.h] for region in verdict.regions],
        "grid": grid_values(found.heatmap),
    }


def _way(filters: Filters, seen: _Seen) -> None:
    with ui.element("nav").classes("pager").props('aria-label="Parts"'):
        ui.link("back to history", filters.address("/history"))
        for text, shortcut, key in (("newer", "ArrowLeft", seen.newer), ("older", "ArrowRight", seen.older)):
            if key is not None:
                address = filters.address("/part", key=write_key(key))
                arrow = "←" if shortcut == "ArrowLeft" else "→"
                link = ui.link(f"{text} {arrow}", address).classes("go")
                link.props["data-shortcut"] = shortcut


def _facts(line: str, found: Found) -> None:
    verdict, latency = found.verdict, found.verdict.latency
    with ui.element("h1"):
        ui.label(verdict.part or f"#{verdict.sequence}")
        verdict_mark(verdict.verdict, verdict.reason)
    facts({
        "score": "not inspected" if verdict.score is None else f"{verdict.score:.2f} of {verdict.threshold:.2f} sigma",
        "captured": moment(verdict.captured_at),
        "line and camera": f"{line}, {verdict.camera}",
        "frame": f"#{verdict.sequence} of epoch {verdict.epoch}",
        "engine": f"{verdict.engine} {verdict.precision}{', exact' if verdict.exact else ''}",
        "bundle": verdict.bundle,
        "latency": f"{latency.total / 1e6:.1f} ms",
    })  # fmt: skip
    ui.label("where its time went, in milliseconds").classes("chart-name")
    ui.echart(split_chart(latency)).classes("split-chart")


def _labels(feed: LineFeed, session: Session, orders: Orders, found: Found, *, may_label: bool) -> None:
    verdict = found.verdict
    key = VerdictKey(verdict.camera, verdict.epoch, verdict.sequence)
    with ui.element("section").classes("labels").props('aria-label="Label"'):
        said = ui.label().classes("said").props('role="status"')
        _show_label(said, verdict.label)
        if not may_label:
            ui.label("Labels are set by operators.").classes("soft")
            return
        if isinstance(feed.history, StorePlace):
            ui.label("Labels are set where the line's journal can be read.").classes("soft")
            return
        note = ui.input("note", value="" if verdict.label is None else verdict.label.note).props("outlined dense")
        note.props["maxlength"] = MOST_NOTE_BYTES // 4
        note.props["data-note"] = "yes"
        with ui.element("div").classes("label-buttons"):
            for shortcut, (label, text) in _SHORTCUTS.items():
                made = button(text).on("click", _labelling(feed, session, orders, key, label, note, said))
                made.props["data-shortcut"] = shortcut
                with made, element("kbd"):
                    ui.label(shortcut)


def _labelling(
    feed: LineFeed,
    session: Session,
    orders: Orders,
    key: VerdictKey,
    label: Said | None,
    note: ui.input,
    said: ui.label,
) -> Callable[[], Awaitable[None]]:
    async def set_label() -> None:
        try:
            kept = await carry_out(orders.label, session, feed, key, label, note.value or "")
        except TaktlineError as error:
            said.set_text(f"Not labelled: {error}.")
            return
        _show_label(said, kept)

    return set_label


def _show_label(said: ui.label, label: Label | None) -> None:
    if label is None:
        said.set_text("No label.")
    else:
        note = f": {label.note}" if label.note else ""
        said.set_text(f"{label.label}{note} ({label.by}, {moment(label.at)})")
