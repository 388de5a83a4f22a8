"""The report: one self-contained HTML file with the results and the machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.report.figures import FIGURES
from bench.report.histogram import QUANTILES
from bench.report.results import Results, Run
from engines.extras import require
from engines.files import save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = ("#3b6fd4", "#e5484d", "#2e9e5b", "#b8860b", "#7c4dbd", "#0f9aa8", "#d0559a", "#667080")
_MOST_CURVES = 8


def write_report(path: Path, results: Results) -> None:
    """Writes the report.

    Args:
        path: the HTML file; it appears whole or not at all.
        results: what was measured.

    Raises:
        DataError: the file cannot be written.
        TaktlineError: a package that draws it is not installed.
    """
    render, svg = require("calibration.page", "bench").render, require("calibration.plot", "bench").svg

    plots = {}
    timed = [run for run in results.runs if run.latency_ms and run.windows]
    lines = [run for run in timed if run.kind == "line"]
    engines = [run for run in timed if run.kind == "engine"]
    if timed:
        plots["latency"] = svg(lambda axes: _draw_latency(axes, timed), 12.0)
    if len({_offered(run) for run in lines}) > 1:
        plots["rate"] = svg(lambda axes: _draw_rates(axes, lines), 5.9)
    if len({run.settings.get("batch") for run in engines}) > 1:
        plots["batch"] = svg(lambda axes: _draw_batches(axes, engines), 5.9)
    split = [run for run in timed if run.split_ms]
    if split:
        plots["split"] = svg(lambda axes: _draw_split(axes, split), 5.9)
    if len(results.samples) > 1:
        plots["soak"] = svg(lambda axes: _draw_soak(axes, results), 12.0)
    figures = [(*FIGURES.get(name, (name, "{:.3g}")), value) for name, value in results.figures.items()]
    page = render(
        "bench.report",
        "bench.html",
        1,
        results=results,
        machine=results.machine,
        plots=plots,
        figures=[(words, form.format(value)) for words, form, value in figures],
        percentiles=[(name, name.replace("_", ".")) for name in (*QUANTILES, "max")],
    )
    save(path, page)


def _offered(run: Run) -> float:
    return float(run.settings.get("offered_per_s") or run.images_per_s)


def _coloured(runs: Iterable[Run]) -> list[tuple[Run, str]]:
    return list(zip(list(runs)[:_MOST_CURVES], _COLOURS, strict=False))


def _draw_latency(axes: Axes, runs: list[Run]) -> None:
    """Draws the share of images that took longer, on two log scales, because the tail decides what a gate waits for."""
    # A search has many probes, and rates have their own plot.
    chosen = [run for run in runs if "/s" not in run.name] or runs
    for run, colour in _coloured(chosen):
        values, counts = run.latency().bars()
        if len(values):
            slower = 1 - np.cumsum(counts) / counts.sum()
            shares = np.concatenate([[1.0], slower[:-1], [0.5 / counts.sum()]])
            steps = np.concatenate([values[:1], values])
            axes.plot(steps, shares, color=colour, label=run.name, drawstyle="steps-pre")
    axes.set(xscale="log", yscale="log", xlabel="latency (ms)", ylabel="share that took longer")
    for share, name in ((0.5, "p50"), (0.01, "p99"), (0.001, "p99.9")):
        axes.axhline(share, color="#c4cad1", linewidth=0.7, linestyle=":")
        axes.text(1.0, share, name, transform=axes.get_yaxis_transform(), fontsize=8, color="#667080", ha="right")
    axes.legend(frameon=False, fontsize=8)


def _draw_rates(axes: Axes, runs: list[Run]) -> None:
    ordered = sorted(runs, key=_offered)
    rates = [_offered(run) for run in ordered]
    for name, colour, style in (("p50", _COLOURS[0], "-"), ("p99", _COLOURS[1], "--"), ("p99_9", _COLOURS[7], ":")):
        shown = [run.latency_ms[name] or np.nan for run in ordered]
        axes.plot(rates, shown, style, color=colour, marker="o", markersize=3, label=name.replace("_", "."))
    for run in ordered:
        if run.verdicts.get("uninspected"):
            axes.axvline(_offered(run), color="#f1d9a4", linewidth=4, alpha=0.5, zorder=0)
    axes.set(yscale="log", xlabel="frames a second offered (shaded: not all inspected)", ylabel="latency (ms)")
    axes.legend(frameon=False)


def _draw_batches(axes: Axes, runs: list[Run]) -> None:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.name.partition(",")[0], []).append(run)
    for (name, group), colour in zip(groups.items(), _COLOURS, strict=False):
        ordered = sorted(group, key=lambda run: int(run.settings["batch"] or 0))
        batches = [int(run.settings["batch"] or 0) for run in ordered]
        axes.plot(batches, [run.images_per_s for run in ordered], color=colour, marker="o", markersize=3, label=name)
    axes.set(xscale="log", xlabel="batch size", ylabel="images a second")
    axes.set_ylim(0, 1.1 * max(run.images_per_s for run in runs))
    sizes = sorted({int(run.settings["batch"] or 0) for run in runs})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)


def _draw_split(axes: Axes, runs: list[Run]) -> None:
    """Draws shares of the time, because a saturated line would make all other bars too thin to see."""
    kind = "line" if any(run.kind == "line" for run in runs) else "engine"
    own = [run for run in runs if run.kind == kind]
    shown = [run for run in own if "/s" not in run.name][-_MOST_CURVES:] or own[-_MOST_CURVES:]
    steps = list(dict.fromkeys(step for run in shown for step in run.split_ms))
    totals = np.array([sum(part["mean"] for part in run.split_ms.values()) for run in shown])
    left = np.zeros(len(shown))
    for step, colour in zip(steps, _COLOURS, strict=False):
        widths = np.array([run.split_ms[step]["mean"] for run in shown]) / totals * 100
        axes.barh(range(len(shown)), widths, left=left, color=colour, label=step.replace("_", " "))
        left += widths
    names = [f"{run.name}\n{total:.1f} ms" for run, total in zip(shown, totals, strict=True)]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="share of the mean (%)", xlim=(0, 100))
    axes.legend(frameon=False, fontsize=8, ncols=len(steps), loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _draw_soak(axes: Axes, results: Results) -> None:
    minutes = [sample.minute for sample in results.samples]
    axes.plot(minutes, [sample.memory_mb for sample in results.samples], color=_COLOURS[0], label="memory (MB)")
    axes.set(xlabel="minutes", ylabel="memory (MB)", ylim=(0, None))
    times = axes.twinx()
    for name, colour in (("p50", _COLOURS[2]), ("p99", _COLOURS[1])):
        times.plot(minutes, [sample.latency_ms[name] for sample in results.samples], color=colour, label=f"{name} (ms)")
    times.set(ylabel="latency (ms)", ylim=(0, None))
    handles = [*axes.get_lines(), *times.get_lines()]
    axes.legend(handles, [str(line.get_label()) for line in handles], frameon=False, fontsize=8, loc="lower right")
