"""`taktline bench engine`."""

from __future__ import annotations

from typing import Annotated

import typer

from taktline.cli.bench.options import (
    BundleOption,
    PicturesOption,
    SecondsOption,
    bench_progress,
    data_name,
    hand_out,
    prepare,
    read_batch_sizes,
    read_words,
)
from taktline.cli.console import show
from taktline.cli.options import JsonFile, ReportFile


def engine(
    bundle: BundleOption,
    data: PicturesOption = None,
    engines: Annotated[str, typer.Option(help="Engines, separated by commas. Default: all that can run here.")] = "",
    precisions: Annotated[str, typer.Option(help="Precisions, such as bf16,bf16+f32. Default: all.")] = "",
    batch_sizes: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "1,2,4,8,16",
    baseline: Annotated[
        str | None, typer.Option(help="Run that ratios refer to, such as 'torch cpu f32, batch 8'. Default: the first.")
    ] = None,
    seconds: SecondsOption = 2.0,
    json_file: JsonFile = None,
    report: ReportFile = None,
) -> None:
    """Measure engines alone: latency of single batches, and throughput with batches in flight.

    Example: taktline bench engine --bundle runs/bottle --data data/bottle --batch-sizes 1,8
    """
    from bench.load.pictures import load_pictures, stored_frames
    from bench.measure.auto import compare_auto
    from bench.measure.engine import bench_engines, choose_engines

    opened, machine = prepare(bundle, json_file, report)
    batches = read_batch_sizes(batch_sizes, "--batch-sizes")
    choices = choose_engines(opened, read_words(engines), read_words(precisions))
    with bench_progress() as progress, stored_frames(load_pictures(data), opened.size) as frames:
        runs = bench_engines(opened, [(choice, batches) for choice in choices], frames, seconds / 2, baseline, progress)
    settings = {"data": data_name(data), "seconds": seconds}
    # What was left out may be what it would take.
    figures, said = ({}, []) if engines or precisions else compare_auto(opened, runs)
    hand_out("engine", opened, machine, settings, runs, figures, (), json_file, report)
    show(*said)
