"""`taktline bench capture`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from taktline.cli.bench.options import DAY_S
from taktline.cli.console import show, show_json
from taktline.cli.options import JsonFlag
from taktline.cli.table import ResultTable

if TYPE_CHECKING:
    from bench.measure.capture import Captured


def capture(
    source: Annotated[str, typer.Argument(help="Source such as file:part.avi, rtsp://..., http://... or gige:ID.")],
    cameras: Annotated[int, typer.Option(min=1, max=64, help="Number of cameras that read it at once.")] = 8,
    fps: Annotated[float | None, typer.Option(help="Frames per second of each camera. Default: no limit.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=DAY_S, help="Length of each measurement.")] = 5.0,
    as_json: JsonFlag = False,
) -> None:
    """Measure how many pictures cameras deliver, in threads (as in a line) and in processes.

    Example: taktline bench capture file:part.avi --cameras 8 --fps 25
    """
    from bench.measure.capture import measure_capture
    from pipeline.config.line_file import check_camera

    config = check_camera({"name": "bench", "source": source, "fps": fps}, "the command line")
    results = measure_capture(config, cameras, seconds)
    if as_json:
        show_json([asdict(result) for result in results])
    else:
        show(capture_table(results))


def capture_table(results: list[Captured]) -> ResultTable:
    """Shows how many pictures cameras delivered, in threads and in processes."""
    names = ("cameras", "pictures/s", "slowest camera/s", "CPU ms per picture")
    table = ResultTable("in", *names, title="capture and decoding alone")
    for item in results:
        figures = f"{item.pictures_per_s:.1f}", f"{item.slowest_per_s:.1f}", f"{item.cpu_ms:.2f}"
        table.add_row(item.way, str(item.cameras), *figures)
    return table
