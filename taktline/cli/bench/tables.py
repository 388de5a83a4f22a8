"""Formats measurements for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from bench.report.compare import Change
from bench.report.figures import FIGURES
from bench.report.results import Results, Run
from taktline.cli.table import Column, ResultTable

_PERCENTILES = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p99_9": "p99.9"}


def results_tables(results: Results) -> list[RenderableType]:
    """Shows the runs, and figures derived from them."""
    tables: list[RenderableType] = [Text(results.machine.sentence, "dim")]
    engines = [run for run in results.runs if run.kind == "engine"]
    lines = [run for run in results.runs if run.kind == "line"]
    others = [run for run in results.runs if run.kind in {"peer", "limit"}]
    for own, table in ((engines, _engine_table), (lines, _line_table)):
        if own:
            tables.append(table(own))
            split = [run for run in own if run.split_ms]
            if split:
                tables.append(_split_table(split))
    if others or results.kind == "peers":
        tables.append(_peer_table(results.runs))
    if results.figures:
        tables.append(figures_table(results.figures))
    return tables


def figures_table(figures: dict[str, float]) -> ResultTable:
    """Shows figures derived from several runs."""
    table = ResultTable("", "")
    for name, value in figures.items():
        words, form = FIGURES.get(name, (name, "{:.3g}"))
        table.add_row(words, form.format(value))
    return table


def changes_table(changes: Sequence[Change], allowed: float) -> ResultTable:
    """Shows how figures changed."""
    table = ResultTable(
        "",
        Column("figure", left=True),
        *("old", "new", "ratio", "95 %", ""),
        title="new over old",
        caption=f"worse: by more than {allowed:.0%}, and significantly",
    )
    for change in changes:
        interval = "-" if change.interval is None else f"{change.interval[0]:.2f} to {change.interval[1]:.2f}"
        verdict = Text("worse", "bold red") if change.worse else Text("")
        figures = f"{change.old:.1f}", f"{change.new:.1f}", f"{change.ratio:.2f}"
        table.add_row(change.run, change.figure, *figures, interval, verdict)
    return table


def _engine_table(runs: Sequence[Run]) -> ResultTable:
    baseline = next((run.baseline for run in runs if run.baseline), None)
    table = ResultTable(
        "",
        *("images/s", *_PERCENTILES.values(), "cv", "MB", *(("ratio",) if baseline else ())),
        title="engines alone",
        caption="images per second with batches in flight; milliseconds and their variation (cv) for single batches"
        + (f"; ratio to {baseline}" if baseline else "")
        + ("; *: unstable, no three windows in a row agreed" if any(run.steady is False for run in runs) else ""),
    )
    for run in runs:
        cells = [run.name, _rate(run), *_latency(run), "-" if run.variation is None else f"{run.variation:.2f}"]
        cells.append("-" if run.peak_memory_mb is None else f"{run.peak_memory_mb:.0f}")
        table.add_row(*cells, *(["-" if run.ratio is None else f"{run.ratio:.2f}"] if baseline else []))
    return table


def _line_table(runs: Sequence[Run]) -> ResultTable:
    table = ResultTable(
        "",
        *("images/s", *_PERCENTILES.values(), "not inspected"),
        title="the line",
        caption="milliseconds from a frame's scheduled arrival to its verdict's arrival, for inspected frames",
    )
    for run in runs:
        reasons = ", ".join(f"{name} {count}" for name, count in run.reasons.items())
        wrong = "".join(f", {name} {run.verdicts[name]}" for name in ("missing", "twice") if name in run.verdicts)
        table.add_row(run.name, _rate(run), *_latency(run), (reasons or "0") + wrong)
    return table


def _split_table(runs: Sequence[Run]) -> ResultTable:
    steps = list(dict.fromkeys(step for run in runs for step in run.split_ms))
    late = any(run.lag_ms for run in runs)
    table = ResultTable(
        "",
        *(step.replace("_", " ") for step in steps),
        *(("sent late, p99",) if late else ()),
        title="where the time goes",
        caption="p50 of each step in milliseconds",
    )
    for run in runs:
        cells = [f"{run.split_ms[step]['p50']:.2f}" if step in run.split_ms else "-" for step in steps]
        if late:
            cells.append(f"{run.lag_ms['p99']:.2f}" if run.lag_ms else "-")
        table.add_row(run.name, *cells)
    return table


def _peer_table(runs: Sequence[Run]) -> ResultTable:
    table = ResultTable("", "images/s", "ratio", Column("", prose=True), title="side by side")
    for run in runs:
        table.add_row(run.name, _rate(run), "-" if run.ratio is None else f"{run.ratio:.2f}", run.note)
    return table


def _rate(run: Run) -> str:
    return f"{run.images_per_s:.1f}" + ("*" if run.steady is False else "")


def _latency(run: Run) -> list[str]:
    return [_short(run.latency_ms[name]) if name in run.latency_ms else "-" for name in _PERCENTILES]


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
