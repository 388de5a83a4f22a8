"""`taktline bench fanout`."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from taktline.cli.bench.options import read_counts
from taktline.cli.console import progress_bars, show, show_json
from taktline.cli.options import JsonFlag
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from bench.measure.fanout import Fanned


def fanout(
    subscribers: Annotated[str, typer.Option(help="Numbers of subscribers to one line.")] = "1,4,16",
    count: Annotated[int, typer.Option(min=2, help="Verdicts published per run.")] = 50_000,
    runs: Annotated[int, typer.Option(min=1, help="Number of runs; the figures are their medians.")] = 3,
    loss: Annotated[bool, typer.Option(help="Also find when a subscriber that hangs loses its first verdict.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Measure how one publisher serves many subscribers, and when one that hangs begins to lose verdicts.

    Example: taktline bench fanout --subscribers 1,4,16
    """
    from bench.measure.fanout import measure_fanout, measure_first_loss

    numbers = read_counts(subscribers, "--subscribers")
    with progress_bars() as report:
        results = measure_fanout(numbers, count, runs, report)
        first = measure_first_loss(report) if loss else None
    if as_json:
        each = results[0].cpu_us_each
        shown = [asdict(one) | {"cpu_us_each": None if math.isnan(each) else each} for one in results]
        show_json({"fanout": shown, "first_loss": first})
        return
    show(fanout_table(results))
    if first is not None:
        show(f"a subscriber that hangs loses the first verdict after {first:,}")


def fanout_table(results: list[Fanned]) -> ResultTable:
    """Shows how one publisher served its subscribers."""
    each = results[0].cpu_us_each
    slope = "" if math.isnan(each) else f"; each further subscriber adds {each:.1f} µs to a message"
    table = ResultTable(
        "subscribers",
        *("verdicts/s", "deliveries/s", "MB/s", "CPU for a verdict"),
        title=f"one publisher, verdicts of {results[0].bytes} bytes, over loopback",
        caption=f"CPU: the publisher's process, with ZeroMQ's thread{slope}",
    )
    for one in results:
        delivered = one.messages_per_s * one.subscribers
        table.add_row(
            str(one.subscribers), f"{one.messages_per_s:,.0f}", f"{delivered:,.0f}",
            f"{delivered * one.bytes / 1e6:.1f}", f"{one.cpu_us:.1f} µs",
        )  # fmt: skip
    return table
