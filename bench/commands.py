"""The command line's way into what drives the line from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the data, the bundle and the overlays.")] = Path("runs/demo"),
    data: Annotated[Path | None, typer.Option(help="A data set in MVTec AD layout instead of drawn parts.")] = None,
    backbone: Annotated[
        str, typer.Option(envvar="TAKTLINE_BACKBONE", help="imagenet, untrained, or a .pth or .safetensors file.")
    ] = "imagenet",
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Of the drawn parts and of the calibration.")] = 0,
) -> None:
    """Show the whole product at work: draw parts, calibrate, replay them, watch the verdicts.

    Example: taktline demo
    """
    from bench.demo import run_demo

    run_demo(out, data, backbone, fps, seed)
