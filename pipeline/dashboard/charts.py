"""Options and data of the ECharts on the pages. Colours and shapes differ, so that everyone can tell them apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.dashboard.camera_model import REMEMBERED, SeenPart
from pipeline.protocol.verdict import Latency

Options = dict[str, Any]

BLUE, ORANGE, GRAY, GREEN = "#0072b2", "#e69f00", "#7d858e", "#009e73"
_GRID = {"left": 40, "right": 12, "top": 10, "bottom": 8}
# Parts are far apart on a slow line and close on a fast one; the number of the part says more than the time.
_LAST = {"type": "value", "min": 0, "max": REMEMBERED - 1, "show": False}


def score_chart() -> Options:
    """Returns an empty chart of scores against the threshold, over the last parts."""
    return {
        "animation": False,
        "grid": _GRID,
        "xAxis": _LAST,
        "yAxis": {"type": "value", "splitNumber": 3, "min": "dataMin", "axisLabel": {}},
        "series": [
            {"id": "ok", "type": "scatter", "symbol": "circle", "symbolSize": 4, "color": BLUE, "data": []},
            {"id": "ng", "type": "scatter", "symbol": "triangle", "symbolSize": 9, "color": ORANGE, "data": []},
            {"id": "un", "type": "scatter", "symbol": "diamond", "symbolSize": 8, "color": GRAY, "data": []},
            {
                "id": "threshold", "type": "line", "step": "end", "symbol": "none", "data": [],
                "lineStyle": {"color": ORANGE, "width": 2, "type": "dashed"},
            },
        ],
    }  # fmt: skip


def score_data(parts: Iterable[SeenPart]) -> Options:
    """Returns the last parts' scores; what was not inspected lies at the lower edge."""
    found = list(parts)
    low = min(0, int(min((part.score for part in found if part.score is not None), default=0.0)) - 1)
    start = REMEMBERED - len(found)
    points: dict[str, list[list[float]]] = {"ok": [], "ng": [], "un": [], "threshold": []}
    for place, part in enumerate(found, start):
        if part.score is None:
            points["un"].append([place, low])
        else:
            points[part.outcome].append([place, round(part.score, 2)])
    points["threshold"] = _steps([(place, round(part.threshold, 3)) for place, part in enumerate(found, start)])
    return {
        "yAxis": {"min": low},
        "series": [{"id": name, "data": data} for name, data in points.items()],
    }


def latency_chart() -> Options:
    """Returns an empty chart of the latency, with p50, p99 and the takt."""
    line = {"type": "line", "symbol": "none", "data": []}
    return {
        "animation": False,
        "grid": _GRID,
        "xAxis": _LAST,
        "yAxis": {"type": "value", "splitNumber": 2, "min": 0, "axisLabel": {}},
        "series": [
            {"id": "part", "type": "scatter", "symbol": "circle", "symbolSize": 2.5, "color": GRAY, "data": []},
            {"id": "p50", **line, "lineStyle": {"color": BLUE, "width": 1.5}},
            {"id": "p99", **line, "lineStyle": {"color": BLUE, "width": 1.5, "type": "dotted"}},
            {"id": "takt", **line, "lineStyle": {"color": ORANGE, "width": 2, "type": "dashed"}},
        ],
    }


def latency_data(parts: Iterable[SeenPart], quantiles: tuple[float, float] | None, takt_ms: float | None) -> Options:
    """Returns the last parts' latencies."""
    found = list(parts)
    start = REMEMBERED - len(found)
    p50, p99 = quantiles or (None, None)
    levels = {"p50": p50, "p99": p99, "takt": takt_ms}
    data = [[place, round(part.latency_ms, 1)] for place, part in enumerate(found, start)]
    lines = [
        {"id": name, "data": [] if level is None else [[0, round(level, 1)], [REMEMBERED - 1, round(level, 1)]]}
        for name, level in levels.items()
    ]
    return {"yAxis": {}, "series": [{"id": "part", "data": data}, *lines]}


def _steps(points: list[tuple[int, float]]) -> list[list[float]]:
    """Returns the points where the value changes, and both ends."""
    kept = [point for at, point in enumerate(points) if at in (0, len(points) - 1) or point[1] != points[at - 1][1]]
    return [[place, value] for place, value in kept]


def split_chart(latency: Latency) -> Options:
    """Returns a bar of where a part's time went."""
    steps = {"queue": GRAY, "infer": BLUE, "decide": GREEN, "publish": ORANGE}
    return {
        "animation": False,
        "grid": {"left": 8, "right": 16, "top": 4, "bottom": 44},
        "legend": {"bottom": 0, "itemWidth": 14, "textStyle": {"color": GRAY, "fontSize": 13}},
        "xAxis": {"type": "value", "axisLabel": {"color": GRAY}, "splitLine": {"show": False}},
        "yAxis": {"type": "category", "data": [""], "show": False},
        "series": [
            {
                "name": f"{name} {getattr(latency, name) / 1e6:.1f}", "type": "bar", "stack": "all", "color": colour,
                "data": [round(getattr(latency, name) / 1e6, 2)],
            }
            for name, colour in steps.items()
        ],
    }  # fmt: skip


def scores_histogram(scores: Sequence[float], threshold: float) -> Options:
    """Returns how the scores of held-out good parts lie, with the threshold."""
    low, high = min(*scores, threshold) - 0.25, max(*scores, threshold) + 0.25
    width = max(0.25, round((high - low) / 30 * 4) / 4)
    start = round(low / width) * width
    counts: dict[int, int] = {}
    for score in scores:
        place = int((score - start) // width)
        counts[place] = counts.get(place, 0) + 1
    last = int((high - start) // width)
    bars = [[round(start + (place + 0.5) * width, 3), counts.get(place, 0)] for place in range(last + 1)]
    return {
        "animation": False,
        "grid": {"left": 40, "right": 16, "top": 24, "bottom": 40},
        "xAxis": {
            "type": "value", "min": start, "max": round(start + (last + 1) * width, 3), "name": "score in sigma",
            "nameLocation": "middle", "nameGap": 24,
            "splitLine": {"show": False}, "axisLabel": {"color": GRAY}, "nameTextStyle": {"color": GRAY},
        },
        "yAxis": {"type": "value", "minInterval": 1, "axisLabel": {"color": GRAY}, "splitLine": {"show": False}},
        "series": [
            {
                "type": "bar", "barWidth": "90%", "color": BLUE, "data": bars,
                "markLine": {
                    "symbol": "none", "silent": True, "data": [{"xAxis": threshold}],
                    "lineStyle": {"color": ORANGE, "width": 2},
                    "label": {"formatter": f"threshold {threshold:g}", "color": GRAY},
                },
            }
        ],
    }  # fmt: skip
