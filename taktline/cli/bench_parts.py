"""The command line's way into what measures a part of the line alone: its cameras, or its delivery."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def capture(
    source: Annotated[str, typer.Argument(help="Such as file:part.avi, rtsp://..., http://... or gige:ID.")],
    cameras: Annotated[int, typer.Option(min=1, max=64, help="How many cameras read it at once.")] = 8,
    fps: Annotated[float | None, typer.Option(help="Of each camera; as fast as they go by default.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each measurement takes.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure how many pictures cameras give, in threads as in a line, and in processes.

    Example: taktline bench capture file:part.avi --cameras 8 --fps 25
    """
    from bench.measure.capture import measure_capture
    from pipeline.config.line_file import check_camera
    from taktline.cli.engine_tables import capture_table

    config = check_camera({"name": "bench", "source": source, "fps": fps}, "the command line")
    results = measure_capture(config, cameras, seconds)
    if as_json:
        typer.echo(json.dumps([result.to_json() for result in results]))
    else:
        Console().print(capture_table(results))


def delivery(
    folder: Annotated[Path | None, typer.Option(help="Where the journal lies; a temporary folder by default.")] = None,
    rate: Annotated[float, typer.Option(min=1, help="Verdicts a second while latency is measured.")] = 200.0,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long latency is measured in a run.")] = 10.0,
    count: Annotated[int, typer.Option(min=1, help="Verdicts sent to measure the throughput of a run.")] = 20_000,
    runs: Annotated[int, typer.Option(min=1, help="The figures are the median of so many runs.")] = 3,
    power: Annotated[bool, typer.Option(help="Also measure a journal that survives a loss of power.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure what journaling and publishing cost on one core.

    Example: taktline bench delivery
    """
    from bench.measure.delivery import measure_delivery
    from taktline.cli.engine_tables import delivery_table

    results = measure_delivery(folder, rate, seconds, count, runs, ("process", "power") if power else ("process",))
    if as_json:
        typer.echo(json.dumps([result.to_json() for result in results]))
    else:
        Console().print(delivery_table(results, rate))
