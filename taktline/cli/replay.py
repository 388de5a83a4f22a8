"""`taktline replay`: a data set's test split as a stream."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from engines.errors import TaktlineError
from taktline.cli.options import (
    PUBLISHED_AT,
    BundleArgument,
    DeviceOption,
    EngineOption,
    MaxBatchOption,
    PrecisionOption,
    SeedOption,
)
from taktline.cli.run import SummaryFlag, open_line, show_summary

if TYPE_CHECKING:
    from pipeline.flow.decided import Decided
    from pipeline.line.line import Line


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
        show_summary(summary, as_json, None)


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
