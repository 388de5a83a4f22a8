"""`taktline bench soak`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from taktline.cli.bench.options import (
    DAY_S,
    BundleOption,
    CameraCountOption,
    DecodeOption,
    PicturesOption,
    TaktOption,
    bench_progress,
    hand_out,
    prepare,
)
from taktline.cli.options import EngineOption, JsonFile, MaxBatchOption, PrecisionOption, ReportFile

_YEAR_MIN = 366 * 24 * 60


def soak(
    bundle: BundleOption,
    minutes: Annotated[float, typer.Option(min=0.01, max=_YEAR_MIN, help="Length of the run.")],
    rate: Annotated[float, typer.Option(min=0.01, help="Frames per second.")] = 10.0,
    data: PicturesOption = None,
    sample: Annotated[
        float, typer.Option(min=0.5, max=DAY_S, help="Seconds between two samples of the line's process.")
    ] = 10.0,
    arrivals: Annotated[
        Literal["constant", "poisson"],
        typer.Option(help="How frames arrive: one in each period, as cameras send them, or at random."),
    ] = "poisson",
    takt: TaktOption = None,
    cameras: CameraCountOption = 1,
    decode: DecodeOption = "jpeg",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    max_batch: MaxBatchOption = 8,
    browsers: Annotated[
        int,
        typer.Option(
            min=0, max=16, help="Browsers (Chromium) on a dashboard for the middle three quarters. Default: none."
        ),
    ] = 0,
    json_file: JsonFile = None,
    report: ReportFile = None,
) -> None:
    """Load a line steadily for a long time and check whether memory, handles, threads or latency grow.

    Example: taktline bench soak --bundle runs/bottle --minutes 60 --rate 10
    """
    from bench.measure.line_suite import LineSettings
    from bench.measure.soak import soak_line

    opened, machine = prepare(bundle, json_file, report)
    settings = LineSettings(
        opened, data, engine, precision, None, max_batch, decode, arrivals, cameras, takt_ms=takt, seconds=sample
    )
    with bench_progress() as show:
        found = soak_line(settings, rate, minutes, show, browsers)
    values = settings.to_json() | {"rate": rate, "minutes": minutes, "browsers": browsers}
    hand_out("soak", opened, machine, values, [found.run], found.figures, found.samples, json_file, report)
