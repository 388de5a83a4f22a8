"""The ECharts of the page of trends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pipeline.dashboard.charts import BLUE, GRAY, ORANGE
from pipeline.journal.trends import SCORE_QUANTILES, Trend

Options = dict[str, Any]


def share_trend(trends: Sequence[Trend]) -> Options:
    """Returns the share of ng and of uninspected parts in each interval."""

    def bars(name: str, outcome: str, colour: str, decal: str) -> Options:
        shares = [trend.share(outcome) for trend in trends]
        return {
            "name": name, "type": "bar", "color": colour,
            "itemStyle": {"decal": {"symbol": decal, "color": "rgba(255,255,255,.35)"}},
            "data": [None if share is None else round(100 * share, 2) for share in shares],
        }  # fmt: skip

    return _chart(
        trends, "%", [bars("ng", "ng", ORANGE, "triangle"), bars("not inspected", "uninspected", GRAY, "rect")]
    )


def score_trend(trends: Sequence[Trend]) -> Options:
    """Returns the distribution of the scores in each interval."""
    low, quarter, median, three, high = (SCORE_QUANTILES.index(wanted) for wanted in (0.05, 0.25, 0.5, 0.75, 0.95))

    def line(name: str, place: int, width: float, kind: str) -> Options:
        data = [round(trend.scores[place], 3) if trend.scores else None for trend in trends]
        return {
            "name": name, "type": "line", "color": BLUE, "lineStyle": {"width": width, "type": kind},
            "symbolSize": 5, "data": data,
        }  # fmt: skip

    return _chart(
        trends,
        "sigma",
        [
            line("95 %", high, 1, "dotted"), line("75 %", three, 1.5, "dashed"), line("median", median, 3, "solid"),
            line("25 %", quarter, 1.5, "dashed"), line("5 %", low, 1, "dotted"),
        ],
    )  # fmt: skip


def latency_trend(trends: Sequence[Trend]) -> Options:
    """Returns p50 and p99 of the latency in each interval."""

    def line(name: str, place: int, colour: str, symbol: str) -> Options:
        data = [round(trend.latencies[place] / 1e6, 1) if trend.latencies else None for trend in trends]
        return {"name": name, "type": "line", "color": colour, "symbol": symbol, "symbolSize": 7, "data": data}

    return _chart(trends, "ms", [line("p50", 0, BLUE, "circle"), line("p99", 1, ORANGE, "triangle")])


def _chart(trends: Sequence[Trend], unit: str, series: list[Options]) -> Options:
    long = len(trends) > 1 and trends[-1].since - trends[0].since > 24 * 3600 * 1_000_000_000
    names = [f"{datetime.fromtimestamp(trend.since / 1e9):{'%d %b %H:%M' if long else '%H:%M'}}" for trend in trends]
    return {
        "animation": False,
        "grid": {"left": 48, "right": 16, "top": 34, "bottom": 54},
        "legend": {"bottom": 0, "textStyle": {"color": GRAY}},
        "tooltip": {"trigger": "axis", "confine": True},
        "xAxis": {"type": "category", "data": names, "axisLabel": {"color": GRAY, "hideOverlap": True}},
        "yAxis": {
            "type": "value", "name": unit, "nameTextStyle": {"color": GRAY}, "axisLabel": {"color": GRAY},
            "splitLine": {"lineStyle": {"color": "rgba(128,128,128,.25)"}}, "scale": unit == "sigma",
        },
        "series": series,
    }  # fmt: skip
