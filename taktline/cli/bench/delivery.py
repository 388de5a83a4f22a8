"""`taktline bench delivery`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taktline.cli.console import show, show_json
from taktline.cli.options import JsonFlag
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from bench.measure.delivery import Delivered


def delivery(
    folder: Annotated[Path | None, typer.Option(help="Folder for the journal. Default: a temporary folder.")] = None,
    rate: Annotated[float, typer.Option(min=1, help="Verdicts per second while measuring latency.")] = 200.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds per run for measuring latency.")] = 10.0,
    count: Annotated[int, typer.Option(min=1, help="Verdicts sent per run to measure throughput.")] = 20_000,
    runs: Annotated[int, typer.Option(min=1, help="Number of runs; the figures are their medians.")] = 3,
    power: Annotated[bool, typer.Option(help="Also measure a journal that survives a power failure.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Measure what journaling and publishing cost on one core.

    Example: taktline bench delivery
    """
    from bench.measure.delivery import measure_delivery

    results = measure_delivery(folder, rate, seconds, count, runs, ("process", "power") if power else ("process",))
    if as_json:
        show_json([asdict(result) for result in results])
    else:
        show(delivery_table(results, rate))


def delivery_table(results: list[Delivered], rate: float) -> ResultTable:
    """Shows what journaling and publishing cost; the first result is without a journal."""
    table = ResultTable(
        "journal",
        *("verdicts/s", "p50", "p99", "p99 added"),
        title="journaling and publishing, on one core",
        caption=f"latency from decision to another process, at {rate:g} verdicts per second",
    )
    for result in results:
        added = result.p99_ms - results[0].p99_ms
        table.add_row(
            result.journal,
            f"{result.verdicts_per_s:,.0f}",
            f"{result.p50_ms:.2f} ms",
            f"{result.p99_ms:.2f} ms",
            "" if result is results[0] else f"{added:+.2f} ms",
        )
    return table
