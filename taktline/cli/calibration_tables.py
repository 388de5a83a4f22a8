"""What calibration and evaluation look like in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table

from calibration.published import PUBLISHED
from calibration.survey import Survey
from engines.manifest import Threshold

if TYPE_CHECKING:
    from calibration.evaluate import Evaluation

_SHORT = {
    "auroc": "AUROC", "average_precision": "AP", "f1": "F1", "best_f1": "best F1", "false_alarm_rate": "false alarms",
    "pixel_auroc": "pixel AUROC", "aupro": "AUPRO",
}  # fmt: skip


def threshold_sentence(threshold: Threshold) -> str:
    """Says what a threshold promises, and what it cannot."""
    low, high = threshold.interval_per_1000
    text = (
        f"Threshold {threshold.value:.3f} sigma (rule {threshold.rule}): {threshold.false_alarms_per_1000:.1f} false "
        f"alarms expected in 1000 good parts, 99 % between {low:.1f} and {high:.1f}, from {threshold.samples} held-out "
        "good parts."
    )
    return f"{text} [yellow]Warning: {threshold.warning}.[/]" if threshold.warning else text


def survey_table(survey: Survey) -> RenderableType:
    """Shows what a data set holds."""
    table = Table(title=f"{survey.category} ({survey.layout} layout)")
    table.add_column("pictures")
    table.add_column("count", justify="right")
    table.add_row("train, good", str(survey.train))
    for kind, count in survey.test.items():
        table.add_row(f"test, {kind}", str(count))
    table.add_row("with a mask", str(survey.masks))
    shown = list(survey.sizes.items())[:5]
    for size, count in shown:
        table.add_row(f"of size {size}", str(count))
    if len(survey.sizes) > len(shown):
        table.add_row("of other sizes", str(sum(survey.sizes.values()) - sum(count for _, count in shown)))
    return table


def evaluation_tables(evaluation: Evaluation) -> list[RenderableType]:
    """Shows the figures of an evaluation."""
    metrics = evaluation.metrics
    quality = Table(title=f"{metrics['parts']} parts, {evaluation.engine}")
    names = ("auroc", "average_precision", "accuracy", "precision", "recall", "f1", "best_f1", "pixel_auroc", "aupro")
    quality.add_column("figure")
    quality.add_column("value", justify="right")
    for name in names:
        interval = metrics["auroc_interval"] if name == "auroc" else None
        more = f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
        quality.add_row(name.replace("_", " ").replace("auroc", "AUROC").replace("aupro", "AUPRO"),
                        _figure(metrics[name]) + more)  # fmt: skip
    confusion = Table(title=f"confusion matrix at {metrics['threshold']:.3f} sigma")
    for name in ("", "verdict ok", "verdict ng"):
        confusion.add_column(name, justify="right")
    counts = metrics["confusion"]
    confusion.add_row("good part", str(counts["tn"]), str(counts["fp"]))
    confusion.add_row("defective part", str(counts["fn"]), str(counts["tp"]))
    tables: list[RenderableType] = [quality, confusion]
    if metrics["recall_by_defect"]:
        defects = Table(title="defects found")
        defects.add_column("defect")
        defects.add_column("found", justify="right")
        for kind, row in metrics["recall_by_defect"].items():
            defects.add_row(kind, f"{row['found']} of {row['parts']}")
        tables.append(defects)
    return tables


def category_tables(rows: list[dict[str, Any]]) -> list[RenderableType]:
    """Shows a row of figures for each category, and beside the published ones those that have some."""
    figures = Table(title="every category")
    figures.add_column("category")
    names = [name for name in rows[0] if name != "category"]
    for name in names:
        figures.add_column(_SHORT.get(name, name), justify="right")
    for row in rows:
        figures.add_row(row["category"], *(_figure(row[name]) for name in names))
    known = [row for row in rows if any(row["category"] in method for method in PUBLISHED.values())]
    # The published means are over all 15 categories: beside the mean of a few they would mislead.
    known = [row for row in known if row["category"] != "mean" or len(rows) > 15]
    if not known:
        return [figures]
    published = Table(title="image AUROC in %, ours beside published figures")
    published.add_column("method")
    for row in known:
        published.add_column(row["category"], justify="right")
    ours = ["-" if row["auroc"] is None else f"{100 * row['auroc']:.1f}" for row in known]
    published.add_row("this run", *ours, style="bold")
    for method, values in PUBLISHED.items():
        published.add_row(method, *(f"{values[row['category']]:.1f}" for row in known))
    return [figures, published]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
