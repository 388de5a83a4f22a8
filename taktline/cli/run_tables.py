"""Formats the figures of a run for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from taktline.cli.table import Column, ResultTable

if TYPE_CHECKING:
    from taktline.cli.summary import RunSummary


def summary_tables(summary: RunSummary) -> list[RenderableType]:
    """Shows the figures of a run and, if the parts had labels, how the verdicts agree with them."""
    values = summary.to_json()
    labels = values.get("against_labels")
    tables: list[RenderableType] = [_run_table(values, summary.rescored)]
    if labels is not None:
        tables.append(confusion_table(labels["confusion"], "confusion matrix"))
        quality = ResultTable(*map(Column, ("precision", "recall", "F1", "AUROC")), title="against the labels")
        figures = (labels[name] for name in ("precision", "recall", "f1", "auroc"))
        quality.add_row(*("-" if value is None else f"{value:.3f}" for value in figures))
        tables.append(quality)
    return tables


def confusion_table(confusion: dict[str, int], title: str) -> ResultTable:
    """Shows a confusion matrix: labels down, verdicts across."""
    table = ResultTable("", "verdict ok", "verdict ng", title=title)
    table.add_row("good part", str(confusion["tn"]), str(confusion["fp"]))
    table.add_row("defective part", str(confusion["fn"]), str(confusion["tp"]))
    return table


def _run_table(values: dict[str, Any], rescored: float | None) -> ResultTable:
    names = ("frames", "ok", "ng", "uninspected", "rescored", "latency p50", "p90", "p99")
    table = ResultTable(*map(Column, names), title="run")
    verdicts, latency = values["verdicts"], values["latency_ms"]
    reasons = ", ".join(f"{name} {count}" for name, count in values["reasons"].items())
    table.add_row(
        str(values["frames"]),
        str(verdicts["ok"]),
        str(verdicts["ng"]),
        f"{verdicts['uninspected']} ({reasons})" if reasons else "0",
        "-" if rescored is None else f"{rescored:.1%}",
        *(f"{latency[name]:.1f} ms" for name in ("p50", "p90", "p99")),
    )
    return table
