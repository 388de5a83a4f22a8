"""`taktline bench line`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engines.errors import ConfigError
from taktline.cli.bench.options import (
    DAY_S,
    BundleOption,
    CameraCountOption,
    DecodeOption,
    PicturesOption,
    SecondsOption,
    bench_progress,
    hand_out,
    prepare,
    read_numbers,
)
from taktline.cli.console import show
from taktline.cli.options import (
    DeviceOption,
    EngineOption,
    JsonFile,
    MaxBatchOption,
    PrecisionOption,
    ReportFile,
    SeedOption,
)


def line(
    bundle: BundleOption,
    data: PicturesOption = None,
    rates: Annotated[
        str,
        typer.Option(help="Frames per second, separated by commas. Default: saturate it and compare with the engine."),
    ] = "",
    find_limit: Annotated[
        bool,
        typer.Option("--find-limit", help="Find the highest rate that keeps --takt at p99 and drops nothing."),
    ] = False,
    overload: Annotated[
        str,
        typer.Option(help="Multiples of the limit, such as 2,3: measure how much is still inspected at these rates."),
    ] = "",
    takt: Annotated[
        float | None,
        typer.Option(min=1, max=3_600_000, help="Takt in ms. Default with --find-limit and --overload: 100."),
    ] = None,
    arrivals: Annotated[
        str, typer.Option(help="constant, poisson, bursts, or a file with one line 'seconds,camera' per frame.")
    ] = "constant",
    burst: Annotated[int, typer.Option(min=1, help="Frames per burst.")] = 8,
    cameras: CameraCountOption = 1,
    decode: DecodeOption = "memory",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    device: DeviceOption = None,
    max_batch: MaxBatchOption = 8,
    seconds: SecondsOption = 10.0,
    warm_up: Annotated[
        float, typer.Option(min=0, max=DAY_S, help="Seconds before each measurement that do not count.")
    ] = 2.0,
    seed: SeedOption = 0,
    json_file: JsonFile = None,
    report: ReportFile = None,
) -> None:
    """Measure a whole line, from a frame's scheduled arrival until another process has its verdict.

    Example: taktline bench line --bundle runs/bottle --data data/bottle --find-limit --takt 100
    """
    from bench.measure.line_suite import LineSettings, bench_against_engine, bench_rates, bench_recorded
    from bench.measure.overload import bench_overload, draw_overload

    opened, machine = prepare(bundle, json_file, report)
    recorded = Path(arrivals) if arrivals not in {"constant", "poisson", "bursts"} else None
    if recorded is not None and (rates or find_limit or overload):
        raise ConfigError("a recorded schedule has its own rate; leave out --rates, --find-limit and --overload")
    if rates and find_limit:
        raise ConfigError("--rates and --find-limit exclude each other; give either --rates or --find-limit")
    if overload and (rates or find_limit):
        raise ConfigError("--overload finds the limit itself; leave out --rates and --find-limit")
    settings = LineSettings(
        opened, data, engine, precision, device, max_batch,
        decode, recorded or arrivals, cameras, burst,  # type: ignore[arg-type]
        100.0 if (find_limit or overload) and takt is None else takt, seconds, warm_up, seed,
    )  # fmt: skip
    with bench_progress() as progress:
        if recorded is not None:
            found = bench_recorded(settings, progress)
        elif overload:
            found = bench_overload(settings, read_numbers(overload, "--overload"), progress)
        elif rates:
            found = bench_rates(settings, read_numbers(rates, "--rates"), progress)
        else:
            found = bench_against_engine(settings, find_limit, progress)
    hand_out("line", opened, machine, settings.to_json(), found.runs, found.figures, (), json_file, report)
    if overload:
        show(*draw_overload(found.figures))
