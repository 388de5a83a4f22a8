"""`taktline bench store`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taktline.cli.console import progress_bars, show, show_json
from taktline.cli.options import JsonFlag
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from bench.measure.store import Filled


def store(
    url: Annotated[list[str] | None, typer.Option(help="Also a PostgreSQL server. Repeat for more.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder for the SQLite file. Default: a temporary one.")] = None,
    verdicts: Annotated[int, typer.Option(min=1, help="Number of verdicts per run.")] = 200_000,
    runs: Annotated[int, typer.Option(min=1, help="Number of runs; the figures are their medians.")] = 3,
    as_json: JsonFlag = False,
) -> None:
    """Measure how many verdicts a second one core brings into SQLite and PostgreSQL.

    Example: taktline bench store --url postgresql://postgres@127.0.0.1/postgres
    """
    from bench.measure.store import measure_store

    with progress_bars() as report:
        results = measure_store(url or [], folder, verdicts, runs, lambda name, done: report(name, done, verdicts, ""))
    if as_json:
        shown = [asdict(one) for one in results]
        unknown = dict.fromkeys(("per_core", "server_share"))
        stores = [values | (unknown if math.isnan(values["per_core"]) else {}) for values in shown]
        show_json({"verdicts": verdicts, "stores": stores})
    else:
        show(store_table(results, verdicts))


def store_table(results: list[Filled], verdicts: int) -> ResultTable:
    """Shows what each store takes."""
    table = ResultTable(
        "store",
        *("verdicts/s", "verdicts/s of one core", "of it the server's", "bytes/verdict"),
        title=f"storing {verdicts:,} verdicts of 100 lines",
        caption="from received messages to committed rows; one core: processor time of bridge and server together",
    )
    for one in results:
        known = not math.isnan(one.per_core)
        cells = (f"{one.per_core:,.0f}", f"{100 * one.server_share:.0f} %") if known else ("", "")
        table.add_row(one.store, f"{one.verdicts_per_s:,.0f}", *cells, f"{one.bytes_each:,.0f}")
    return table
