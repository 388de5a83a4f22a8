"""History: filters, a table or a gallery, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from nicegui import ui

from engines.errors import TaktlineError
from pipeline.dashboard.background import read
from pipeline.dashboard.fields import choice_field, element, text_field
from pipeline.dashboard.filters import UNLABELLED, Filters, read_key, write_key
from pipeline.dashboard.frame import button
from pipeline.dashboard.store_history import HistoryPlace, open_history
from pipeline.dashboard.tables import say, say_no_journal
from pipeline.journal.history import Count, Page
from pipeline.journal.search import Found, Key
from pipeline.protocol.label import LABELS

_ROWS, _PICTURES = 50, 40
_NUMBERS = ("score", "threshold", "latency")
_EXPORTS = {"csv": "CSV", "parquet": "Parquet", "zip": "pictures (zip)"}


async def history_page(
    places: dict[str, HistoryPlace | None], cameras: Sequence[str], filters: Filters, after: str
) -> None:
    """Builds the page.

    Args:
        places: where each line's history is, if this machine can read it.
        cameras: the cameras of the line that is looked at.
        filters: which verdicts.
        after: the key that the page follows, as in the address.
    """
    line = filters.texts.get("line", "")
    _form(list(places), cameras, filters)
    place = places.get(line)
    if filters.wrong is not None:
        say(filters.wrong)
        return
    if place is None:
        say_no_journal(line)
        return
    gallery = filters.texts.get("view") == "gallery"
    size = _PICTURES if gallery else _ROWS
    try:
        page, count = await read(_search, place, filters, read_key(after), size)
    except TaktlineError as error:
        say(f"{error}.")
        return
    _summary(filters, count, after)
    if not page.found:
        say("Nothing was found. Widen the filters.")
        return
    (_gallery if gallery else _table)(page.found, filters)
    with ui.element("nav").classes("pager").props('aria-label="Pages of history"'):
        if after:
            ui.link("newest", filters.address("/history")).classes("go")
        if page.after is not None:
            ui.link("older", filters.address("/history", after=write_key(page.after))).classes("go")


def _search(place: HistoryPlace, filters: Filters, after: Key | None, size: int) -> tuple[Page, Count]:
    with open_history(place) as history:
        return history.page(filters.selection, after, size), history.count(filters.selection)


def _form(lines: Sequence[str], cameras: Sequence[str], filters: Filters) -> None:
    texts = filters.texts
    with element("form", method="get", action="/history").classes("filters"):
        choice_field("line", "line", texts.get("line", ""), lines)
        choice_field("camera", "camera", texts.get("camera", ""), {"": "all"} | {name: name for name in cameras})
        choice_field("verdict", "verdict", texts.get("verdict", ""), {
            "": "all", "ng": "ng", "ok": "ok", "uninspected": "not inspected",
        })  # fmt: skip
        choice_field("label", "label", texts.get("label", ""), {
            "": "any or none", **{name: name for name in LABELS}, UNLABELLED: "not labelled",
        })  # fmt: skip
        text_field("part", "part id (* at the end: all that begin so)", texts.get("part", ""), size="16")
        text_field("low", "score from", texts.get("low", ""), "number", step="any")
        text_field("high", "to", texts.get("high", ""), "number", step="any")
        text_field("from", "captured from", texts.get("from", ""), "datetime-local")
        text_field("to", "before", texts.get("to", ""), "datetime-local")
        choice_field("view", "as", texts.get("view", "table"), {"table": "table", "gallery": "gallery"})
        button("Search").props('type="submit"').classes("main-button")


def _summary(filters: Filters, count: Count, after: str) -> None:
    with ui.element("div").classes("summary"):
        more = "more than " if count.more else ""
        parts = "part" if count.number == 1 and not count.more else "parts"
        ui.label(f"{more}{count.number:,} {parts}{', older ones' if after else ', newest first'}").classes("grow")
        ui.label("Export:")
        for ending, text in _EXPORTS.items():
            ui.link(text, filters.address(f"/export.{ending}")).props("download")


def _table(found: Sequence[Found], filters: Filters) -> None:
    with ui.element("div").classes("scroll"), ui.element("table").classes("rows"):
        with ui.element("thead"), ui.element("tr"):
            for name in ("captured", "camera", "part", "verdict", "score", "threshold", "latency", "label"):
                with ui.element("th").props('scope="col"').classes("number" if name in _NUMBERS else ""):
                    ui.label(name)
        with ui.element("tbody"):
            for one in found:
                _row(one, filters)


def _row(one: Found, filters: Filters) -> None:
    verdict, label = one.verdict, one.verdict.label
    texts = (
        verdict.camera, None, None, "" if verdict.score is None else f"{verdict.score:.2f}", f"{verdict.threshold:.2f}",
        f"{verdict.latency.total / 1e6:.0f} ms", "" if label is None else label.label,
    )  # fmt: skip
    with ui.element("tr"):
        with ui.element("td"):
            ui.link(moment(verdict.captured_at), _part_address(one, filters))
        for place, text in enumerate(texts):
            with ui.element("td").classes("number" if place in {3, 4, 5} else ""):
                if place == 1:
                    ui.link(verdict.part or f"#{verdict.sequence}", _part_address(one, filters))
                elif place == 2:
                    verdict_mark(verdict.verdict, verdict.reason)
                else:
                    ui.label(text or "")


def _gallery(found: Sequence[Found], filters: Filters) -> None:
    with ui.element("div").classes("gallery"):
        for one in found:
            verdict = one.verdict
            with element("a", href=_part_address(one, filters)).classes("card"):
                if one.picture is None:
                    ui.label("no picture was kept").classes("no-picture")
                else:
                    source = f"{picture_address(filters.texts['line'], Key.of(verdict))}?small=1"
                    element("img", src=source, loading="lazy", alt=f"part {verdict.part or verdict.sequence}")
                with ui.element("div").classes("card-text"):
                    verdict_mark(verdict.verdict, verdict.reason)
                    ui.label("" if verdict.score is None else f"{verdict.score:.2f}")
                ui.label(verdict.part or f"#{verdict.sequence}").classes("card-part")
                if verdict.label is not None:
                    ui.label(verdict.label.label).classes("tag")


def verdict_mark(outcome: str, reason: str | None) -> None:
    """Builds a verdict as a word with its shape and colour."""
    shape = {"ok": "●", "ng": "▲", "uninspected": "◆"}[outcome]
    with ui.element("span").classes(f"mark mark-{outcome}"):
        ui.label(f"{shape} {(reason or outcome).replace('_', ' ')}")


def moment(nanoseconds: int) -> str:
    """Returns a point in time as people read it, in this machine's local time."""
    found = datetime.fromtimestamp(nanoseconds / 1e9)
    return f"{found:%Y-%m-%d %H:%M:%S}.{found.microsecond // 100_000}"


def picture_address(line: str, key: Key) -> str:
    """Returns where the browser gets a kept picture."""
    return f"/history/{line}/{key.camera}/{key.epoch}/{key.sequence}.jpg"


def _part_address(one: Found, filters: Filters) -> str:
    return filters.address("/part", key=write_key(Key.of(one.verdict)))
