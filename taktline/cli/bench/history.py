"""`taktline bench history`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taktline.cli.console import progress_bars, show, show_json
from taktline.cli.options import JsonFlag
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from bench.measure.history import Waited


def history(
    folder: Annotated[Path | None, typer.Option(help="Folder for the journal. Default: a temporary folder.")] = None,
    verdicts: Annotated[int, typer.Option(min=1_000, help="Number of verdicts in the journal.")] = 1_000_000,
    runs: Annotated[int, typer.Option(min=1, help="Number of runs; the figures are their medians.")] = 3,
    as_json: JsonFlag = False,
) -> None:
    """Measure how long people wait for a journal's history, with every filter.

    Example: taktline bench history --verdicts 1000000
    """
    from bench.measure.history import measure_history

    with progress_bars() as report:
        results, size = measure_history(folder, verdicts, runs, lambda done: report("verdicts", done, verdicts, ""))
    if as_json:
        show_json({"verdicts": verdicts, "bytes_each": size, "questions": [asdict(result) for result in results]})
    else:
        show(history_table(results, verdicts), f"a verdict takes {size:,.0f} bytes of the disk, without pictures")


def history_table(results: list[Waited], verdicts: int) -> ResultTable:
    """Shows how long each question takes."""
    table = ResultTable(
        "question",
        *("found", "first page", "count", "later page"),
        title=f"history of {verdicts:,} verdicts",
        caption="a page has 50 verdicts; it counts up to 10,000",
    )
    for result in results:
        later = "" if result.later_ms is None else f"{result.later_ms:.1f} ms"
        table.add_row(
            result.question, str(result.found), f"{result.first_ms:.1f} ms", f"{result.count_ms:.1f} ms", later
        )
    return table
