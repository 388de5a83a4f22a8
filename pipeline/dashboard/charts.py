"""Options and data of the ECharts on the pages. Colours and shapes differ, so that everyone can tell them apart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.dashboard.camera_model import REMEMBERED, SeenPart

Options = dict[str, Any]

BLUE, ORANGE, GRAY, GREEN = "#0072b2", "#e69f00", "#7d858e", "#009e73"
_GRID = {"left": 44, "right": 12, "top": 10, "bottom": 8}
# Parts are far apart on a slow line and close on a fast one; the number of the part says more than the time.
_LAST = {"type": "value", "min": 0, "max": REMEMBERED - 1, "show": False}


def score_chart() -> Options:
    """Returns an empty chart of scores against the threshold, over the last parts."""
    return {
        "animation": False,
        "grid": _GRID,
        "xAxis": _LAST,
        "yAxis": {"type": "value", "splitNumber": 3, "min": "dataMin", "axisLabel": {"formatter": "{value} sigma"}},
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
    """Returns the last parts' scores; what was not inspected lies at zero."""
    found = list(parts)
    start = REMEMBERED - len(found)
    points: dict[str, list[list[float]]] = {"ok": [], "ng": [], "un": [], "threshold": []}
    for place, part in enumerate(found, start):
        if part.score is None:
            points["un"].append([place, 0])
        else:
            points[part.outcome].append([place, round(part.score, 2)])
    points["threshold"] = _steps([(place, round(part.threshold, 3)) for place, part in enumerate(found, start)])
    low = min((part.score for part in found if part.score is not None), default=0.0)
    return {
        "yAxis": {"min": min(0, int(low) - 1)},
        "series": [{"id": name, "data": data} for name, data in points.items()],
    }


def latency_chart() -> Options:
    """Returns an empty chart of the latency, with p50, p99 and the takt."""
    line = {"type": "line", "symbol": "none", "data": []}
    return {
        "animation": False,
        "grid": _GRID,
        "xAxis": _LAST,
        "yAxis": {"type": "value", "splitNumber": 2, "min": 0, "axisLabel": {"formatter": "{value} ms"}},
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
