"""`taktline run` and `taktline replay`: lines that run in this process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from engines.errors import LineHung, TaktlineError
from taktline.cli.console import show, show_json, stderr
from taktline.cli.options import (
    PUBLISHED_AT,
    BundleArgument,
    DeviceOption,
    EngineOption,
    MaxBatchOption,
    PrecisionOption,
    SeedOption,
)
from taktline.cli.signals import on_signals

if TYPE_CHECKING:
    from pipeline.config.line_file import LineConfig
    from pipeline.flow.decided import Decided
    from pipeline.line.line import Line
    from taktline.cli.summary import RunSummary

SummaryFlag = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def run(
    line_file: Annotated[Path, typer.Argument(help="Line file (TOML).")],
    as_json: SummaryFlag = False,
) -> None:
    """Run a line from its file until its sources end, or until Ctrl-C or SIGTERM.

    Example: taktline run line.toml
    """
    from pipeline.config.line_file import read_line_file
    from pipeline.config.sections import ControlSection
    from taktline.cli.summary import RunSummary

    config = read_line_file(line_file)
    if config.control.bind is None:
        config = config.model_copy(update={"control": ControlSection(bind="auto")})
    summary = RunSummary()
    with open_line(config) as line:
        line.start()
        stderr().print(
            f"line [bold]{escape(config.line.name)}[/] runs: {len(config.camera)} camera(s), {line.model.engine.name} "
            f"{line.model.engine.precision}, verdicts on {line.publisher.address}"
        )
        for decided in line.decided():
            summary.add(decided.verdict, decided.frame.label)
        _show_summary(summary, as_json, stderr())


def replay(
    bundle: BundleArgument,
    data: Annotated[Path, typer.Argument(help="Data set whose test split is replayed.")],
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 30.0,
    seed: SeedOption = 0,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    device: DeviceOption = None,
    max_batch: MaxBatchOption = 8,
    sigma: Annotated[float | None, typer.Option(help="Threshold in sigma. Default: the bundle's.")] = None,
    bind: Annotated[str, typer.Option(help="ZeroMQ address to publish on.")] = PUBLISHED_AT,
    await_subscribers: Annotated[int, typer.Option(min=0, help="Start once this many subscribers are connected.")] = 0,
    save_heatmaps: Annotated[
        Path | None, typer.Option(help="Write every part with its heatmap as PNG to this folder.")
    ] = None,
    as_json: SummaryFlag = False,
) -> None:
    """Replay a data set's test split as a stream and show the verdicts.

    Example: taktline replay runs/bottle data/bottle --fps 30
    """
    from engines.files import make_folder
    from pipeline.config.line_file import check_config
    from taktline.cli.live import LiveView
    from taktline.cli.summary import RunSummary

    model = {"bundle": str(bundle), "engine": engine, "precision": precision, "max_batch": max_batch, "device": device}
    values = {
        "line": {"name": "replay"},
        "model": model,
        "camera": [{"name": "replay", "source": f"replay:{data}", "fps": fps, "seed": seed}],
        "decision": {"sigma": sigma},
        "publish": {"verdicts": bind, "await_subscribers": await_subscribers},
        # A test split is full of defects on purpose.
        "drift": {"enabled": False},
    }
    config = check_config(values, "the command line")
    if save_heatmaps is not None:
        make_folder(save_heatmaps, "give another --save-heatmaps")
    summary = RunSummary()
    console = Console(stderr=as_json)
    with open_line(config) as line:
        with LiveView(console, line) as view:
            line.start()
            for decided in line.decided():
                summary.add(decided.verdict, decided.frame.label)
                view.show(decided, summary)
                if save_heatmaps is not None:
                    _save_overlay(save_heatmaps, decided, line)
        _show_summary(summary, as_json, None)


@contextmanager
def open_line(config: LineConfig) -> Iterator[Line]:
    """Builds a watched line, drains it on SIGINT or SIGTERM, and closes it at the end.

    Raises:
        TaktlineError: it cannot be built.
        LineHung: parts of it hang and were left behind.
    """
    from pipeline.line.build import build_line

    line = build_line(config, watched=True)
    # What is loaded by now stays. To look through all of it for garbage, again and again, would hold every verdict up.
    gc.freeze()
    try:
        with on_signals(line.drain):
            yield line
    finally:
        line.close()
        if line.hung:
            raise LineHung(f"the line ended, but these parts hang and were left behind: {', '.join(line.hung)}")


def _show_summary(summary: RunSummary, as_json: bool, console: Console | None) -> None:
    from taktline.cli.run_tables import summary_tables

    if as_json:
        show_json(summary.to_json())
    else:
        show(*summary_tables(summary), console=console)


def _save_overlay(folder: Path, decided: Decided, line: Line) -> None:
    import cv2

    from engines.image import to_bgr
    from engines.overlay import draw_overlay

    if decided.sigma is None or decided.frame.image is None:
        return
    verdict, scale = decided.verdict, line.model.judge.scale
    overlay = draw_overlay(to_bgr(decided.frame.image), decided.sigma, scale.threshold, scale.full_scale)
    part = (verdict.part or "part").replace("/", "_").rsplit(".", 1)[0]
    path = folder / f"{verdict.sequence:05d}_{verdict.verdict}_{part}.png"
    try:
        path.write_bytes(cv2.imencode(".png", overlay)[1].tobytes())
    except OSError as error:
        raise TaktlineError(f"{path} cannot be written: {error.strerror or error}") from error
