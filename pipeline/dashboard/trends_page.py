"""Trends: hour by hour or shift by shift, from its journal or a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta

from nicegui import ui

from engines.errors import TaktlineError
from pipeline.dashboard.background import read
from pipeline.dashboard.fields import choice_field, element, text_field
from pipeline.dashboard.frame import button
from pipeline.dashboard.store_history import HistoryPlace, open_history
from pipeline.dashboard.tables import say, say_no_journal
from pipeline.dashboard.trend_charts import latency_trend, score_trend, share_trend
from pipeline.journal.selection import Selection
from pipeline.journal.trends import Trend, hours, shifts

_SPANS = {"8h": ("last 8 hours", 8), "1d": ("last day", 24), "7d": ("last 7 days", 168), "30d": ("last 30 days", 720)}
# A bar for every hour of a month cannot be read, and reading a month hour by hour takes long.
_LONG_H, _LONG_STEP_H = 168, 6
_SHIFTS = "06:00, 14:00, 22:00"
_MOST_SHIFTS = 12


async def trends_page(places: dict[str, HistoryPlace | None], cameras: Sequence[str], query: Mapping[str, str]) -> None:
    """Builds the page of trends."""
    line, camera = query.get("line", ""), query.get("camera", "")
    span = query.get("span") if query.get("span") in _SPANS else "1d"
    by = query.get("by") if query.get("by") in {"hour", "shift"} else "hour"
    begins = query.get("shifts") or _SHIFTS
    with element("form", method="get", action="/trends").classes("filters"):
        choice_field("line", "line", line, list(places))
        choice_field("camera", "camera", camera, {"": "all"} | {name: name for name in cameras})
        choice_field("span", "of the", str(span), {name: text for name, (text, _) in _SPANS.items()})
        choice_field("by", "by", str(by), ("hour", "shift"))
        text_field("shifts", "shifts begin at", begins, size="20")
        button("Show").props('type="submit"').classes("main-button")
    place = places.get(line)
    if place is None:
        say_no_journal(line)
        return
    selection = Selection(cameras=(camera,) if camera in cameras else ())
    try:
        edges = _edges(_SPANS[str(span)][1], str(by), begins)
        trends = await read(_read, place, selection, edges)
    except (TaktlineError, ValueError) as error:
        say(f"{error}.")
        return
    total = sum(trend.total for trend in trends)
    ui.label(f"{total:,} parts").classes("summary")
    with ui.element("div").classes("panels"):
        for title, chart in (
            ("Share of ng and of parts not inspected", share_trend(trends)),
            ("Scores: median, half of all parts, and 5 to 95 %", score_trend(trends)),
            ("Latency", latency_trend(trends)),
        ):
            with ui.element("section").classes("panel"):
                with ui.element("h2"):
                    ui.label(title)
                ui.echart(chart).classes("trend-chart")


def _edges(span_h: int, by: str, begins: str) -> list[int]:
    until = datetime.now().astimezone()
    since = until - timedelta(hours=span_h)
    if by == "hour":
        return hours(since, until, _LONG_STEP_H if span_h > _LONG_H else 1)
    texts = [text.strip() for text in begins.split(",") if text.strip()][:_MOST_SHIFTS]
    try:
        return shifts(since, until, [time.fromisoformat(text) for text in texts])
    except ValueError as error:
        raise ValueError(f"'{begins}' are not times; give them like {_SHIFTS}") from error


def _read(place: HistoryPlace, selection: Selection, edges: list[int]) -> list[Trend]:
    with open_history(place) as history:
        return history.trends(selection, edges)
