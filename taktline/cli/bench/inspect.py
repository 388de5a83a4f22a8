"""`taktline bench inspect`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from taktline.cli.bench.options import BundleOption, PicturesOption, data_name
from taktline.cli.console import progress_bars, show, show_json
from taktline.cli.inspect import RunsOn
from taktline.cli.options import JsonFlag, flatten
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from bench.measure.inspect import Rate


@flatten
def inspect(
    runs_on: RunsOn,
    bundle: BundleOption,
    data: PicturesOption = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures in a window.")] = 400,
    rounds: Annotated[int, typer.Option(min=1, help="Number of windows of each kind.")] = 5,
    ray: Annotated[str | None, typer.Option(help="Also on this Ray cluster: its address, or auto.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure how fast stored pictures are inspected, beside the bare engine on the same pictures.

    Example: taktline bench inspect --bundle runs/bottle --data data/bottle
    """
    from bench.load.pictures import load_pictures
    from bench.measure.inspect import measure_inspect
    from engines.bundle import open_bundle
    from pipeline.archive.on_ray import EngineWish

    opened = open_bundle(bundle)
    threshold = opened.manifest.threshold.value
    wish = EngineWish(runs_on.engine, runs_on.precision, runs_on.max_batch, runs_on.device, threshold)
    with progress_bars() as report:
        rates = measure_inspect(opened, load_pictures(data), wish, ray, count, rounds, report)
    if as_json:
        show_json({"count": count, "rounds": rounds, "data": data_name(data), "rates": [asdict(one) for one in rates]})
    else:
        show(rate_table(rates, count, rounds))


def rate_table(rates: list[Rate], count: int, rounds: int) -> ResultTable:
    """Shows the rates, the bare engine's first."""
    table = ResultTable(
        "pictures",
        *("images/s", "of the bare engine"),
        title=f"inspecting {count} pictures, {rounds} rounds",
        caption="medians; a ratio is that of windows of the same round",
    )
    for one in rates:
        table.add_row(one.name, f"{one.images_per_s:,.1f}", f"{one.ratio:.2f}")
    return table
