"""The figures of a suite: each run's, their means over the seeds, and how far the seeds are apart."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from calibration.suite import Outcome

FIGURES = ("auroc", "average_precision", "f1", "best_f1", "recall", "false_alarm_rate", "pixel_auroc", "aupro")
Figures = dict[str, float | None]


def suite_table(outcomes: Sequence[Outcome]) -> dict[str, list[dict[str, Any]]]:
    """Returns the table of a suite as plain values.

    `rows` has one row of figures for each category, which are means over the seeds, and in the last row the means of
    those. With several seeds, `spread` has each category's standard deviation over them, and `runs` the figures of each
    one. `failed` names the runs without figures, if there are any.
    """
    by_category: dict[str, list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda one: (one.job.category, one.job.seed)):
        by_category.setdefault(outcome.job.category, []).append(outcome)
    found = {
        name: [_figures(one.result.metrics) for one in some if one.result is not None and one.result.metrics]
        for name, some in by_category.items()
    }
    means = {name: _over(some, fmean, 1) for name, some in found.items()}
    rows = [{"category": name} | values for name, values in means.items()]
    table: dict[str, list[dict[str, Any]]] = {
        "rows": [*rows, {"category": "mean"} | _over(list(means.values()), fmean, 1)]
    }
    if len({outcome.job.seed for outcome in outcomes}) > 1:
        table["spread"] = [{"category": name} | _over(some, stdev, 2) for name, some in found.items()]
        table["runs"] = [
            _name(one) | _figures(one.result.metrics)
            for some in by_category.values()
            for one in some
            if one.result is not None and one.result.metrics
        ]
    failed = [_name(one) | {"why": one.why} for some in by_category.values() for one in some if one.result is None]
    return table | ({"failed": failed} if failed else {})


def _name(outcome: Outcome) -> dict[str, Any]:
    return {"category": outcome.job.category, "seed": outcome.job.seed}


def _figures(metrics: dict[str, Any]) -> Figures:
    return {name: metrics[name] for name in FIGURES}


def _over(rows: Sequence[Figures], summary: Any, least: int) -> Figures:
    """Summarises each figure over the rows that have it; None where fewer than `least` do."""
    columns = {name: [value for row in rows if (value := row[name]) is not None] for name in FIGURES}
    return {name: float(summary(values)) if len(values) >= least else None for name, values in columns.items()}
