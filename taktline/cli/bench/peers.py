"""`taktline bench peers`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taktline.cli.bench.options import BundleOption, PicturesOption, SecondsOption, bench_progress, hand_out, prepare
from taktline.cli.options import EngineOption, JsonFile, MaxBatchOption, PrecisionOption, ReportFile


def peers(
    bundle: BundleOption,
    data: PicturesOption = None,
    anomalib_python: Annotated[
        Path | None, typer.Option(help="Python of an environment with anomalib. Default: no comparison with anomalib.")
    ] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    max_batch: MaxBatchOption = 8,
    torch_batch: Annotated[int, typer.Option(min=1, max=256, help="PyTorch's batch size.")] = 32,
    seconds: SecondsOption = 10.0,
    json_file: JsonFile = None,
    report: ReportFile = None,
) -> None:
    """Compare eager PyTorch, the engines, the line, anomalib, and the processor's arithmetic limit.

    Example: taktline bench peers --bundle runs/bottle --data data/bottle --anomalib-python anomalib/bin/python
    """
    from bench.measure.line_suite import LineSettings
    from bench.peers.peers import bench_peers

    opened, machine = prepare(bundle, json_file, report)
    settings = LineSettings(opened, data, engine, precision, max_batch=max_batch, seconds=seconds)
    with bench_progress() as show:
        found = bench_peers(settings, anomalib_python, torch_batch, show)
    hand_out("peers", opened, machine, settings.to_json(), found.runs, found.figures, (), json_file, report)
