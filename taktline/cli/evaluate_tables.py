"""Formats an evaluation for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.text import Text

from calibration.published import PUBLISHED
from taktline.cli.run_tables import confusion_table
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from calibration.evaluate import Evaluation

_FIGURES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "best_f1": "best F1",
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
}
_SHORT = {**_FIGURES, "average_precision": "AP", "false_alarm_rate": "false alarms"}
_ALL_CATEGORIES = 15


def evaluation_tables(evaluation: Evaluation) -> list[RenderableType]:
    """Shows an evaluation's figures, its confusion matrix, and how many of each defect were found."""
    metrics = evaluation.metrics
    quality = ResultTable("figure", "value", title=f"{metrics['parts']} parts, {evaluation.engine}")
    for name, words in _FIGURES.items():
        interval = metrics["auroc_interval"] if name == "auroc" else None
        more = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        quality.add_row(words, figure(metrics[name]) + more)
    cheapest = metrics["cheapest"]
    if cheapest is not None:
        quality.add_row(
            f"least cost, a miss {cheapest['miss_costs']:g} false alarms",
            f"threshold {figure(cheapest['threshold'])}: {cheapest['misses']} missed, {cheapest['false_alarms']} false "
            "alarms",
        )
    confusion = confusion_table(metrics["confusion"], f"confusion matrix at {metrics['threshold']:.3f} sigma")
    tables: list[RenderableType] = [quality, confusion]
    if metrics["recall_by_defect"]:
        defects = ResultTable("defect", "found", title="defects found")
        for kind, row in metrics["recall_by_defect"].items():
            defects.add_row(kind, f"{row['found']} of {row['parts']}")
        tables.append(defects)
    return tables


def category_tables(
    rows: list[dict[str, Any]], spread: list[dict[str, Any]] | None = None
) -> list[RenderableType]:
    """Shows one row of figures per category, and published figures for comparison if there are any.

    Args:
        rows: the figures; the last row has the means.
        spread: each category's standard deviations over several seeds, if there were several.
    """
    names = [name for name in rows[0] if name != "category"]
    caption = "" if spread is None else "mean over the seeds ± their standard deviation"
    figures = ResultTable(
        "category", *(_SHORT.get(name, name) for name in names), title="every category", caption=caption
    )
    apart = {row["category"]: row for row in spread or ()}
    for row in rows:
        own = apart.get(row["category"], {})
        figures.add_row(row["category"], *(figure(row[name], own.get(name)) for name in names))
    known = [row for row in rows if any(row["category"] in method for method in PUBLISHED.values())]
    # The published means cover all categories of MVTec AD: beside the mean of a few, they would mislead.
    known = [row for row in known if row["category"] != "mean" or len(rows) > _ALL_CATEGORIES]
    if not known:
        return [figures]
    published = ResultTable(
        "method", *(row["category"] for row in known), title="image AUROC in %, ours beside published figures"
    )
    ours = ["-" if row["auroc"] is None else f"{100 * row['auroc']:.1f}" for row in known]
    published.add_row(*(Text(cell, "bold") for cell in ("this run", *ours)))
    for method, values in PUBLISHED.items():
        published.add_row(method, *(f"{values[row['category']]:.1f}" for row in known))
    return [figures, published]


def figure(value: float | None, spread: float | None = None) -> str:
    """Returns a figure with three decimals, or a dash for None."""
    return "-" if value is None else f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"
