"""The command line's way into what drives the line from outside."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console

from calibration.dataset import open_test_split, read_frames
from calibration.parts import DEFECTS, draw_part
from engines.bundle import open_bundle
from engines.errors import ConfigError
from engines.image import resize_frame
from taktline.cli.calibrate import progress_bars

if TYPE_CHECKING:
    from bench.measure.agreement import Pictures


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
    from taktline.demo import run_demo

    run_demo(out, data, backbone, fps, seed)


def engines(
    check: Annotated[
        Path | None, typer.Option(help="A model bundle: run all engines on the same pictures and compare them.")
    ] = None,
    data: Annotated[
        Path | None, typer.Argument(help="With --check: a data set; its test pictures are used, else drawn parts.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the engines and whether each can run here, or check that they agree.

    Example: taktline engines --check runs/bottle data/bottle
    """
    from bench.measure.agreement import check_agreement, list_engines
    from taktline.cli.engine_tables import agreement_table, engines_table

    if check is None:
        if data is not None:
            raise ConfigError("a data set is only used with --check BUNDLE")
        states = list_engines()
        if as_json:
            typer.echo(json.dumps([asdict(state) for state in states]))
        else:
            Console().print(engines_table(states))
        return
    bundle = open_bundle(check)
    pictures = _pictures(bundle.size, data)
    with progress_bars(Console(stderr=True)) as report:

        def show(note: str, done: int, total: int) -> None:
            report("engines", done, total, note)

        results = check_agreement(bundle, pictures, show)
    if as_json:
        typer.echo(json.dumps([result.to_json() for result in results]))
    else:
        Console().print(agreement_table(results, len(pictures.frames)))


def build(
    bundle: Annotated[Path, typer.Argument(help="Model bundle.")],
    engine: Annotated[str, typer.Option(help="The engine to build for; only tensorrt builds ahead.")] = "tensorrt",
    precision: Annotated[str, typer.Option(help="f16 or f32; both are needed for a second look.")] = "f16",
    max_batch: Annotated[int, typer.Option(min=1, max=256, help="The largest batch.")] = 8,
    compute_capability: Annotated[
        str | None, typer.Option(help="Such as 8.9; by default that of the GPU in this machine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Build a TensorRT plan ahead of time and keep it in the cache (TAKTLINE_CACHE, or ~/.cache/taktline).

    Example: taktline build runs/bottle --compute-capability 8.9
    """
    from engines.plans import build_ahead

    if engine != "tensorrt":
        raise ConfigError(f"the engine {engine} builds nothing ahead; give tensorrt")
    opened = open_bundle(bundle)
    with progress_bars(Console(stderr=True)) as report:
        plan = build_ahead(opened, precision, max_batch, compute_capability, report)
    if as_json:
        typer.echo(json.dumps({"plan": str(plan), "bytes": plan.stat().st_size}))
    else:
        Console().print(f"{plan} is ready ({plan.stat().st_size / 1e6:.0f} MB)", soft_wrap=True, highlight=False)


def _pictures(size: tuple[int, int], data: Path | None) -> Pictures:
    from bench.measure.agreement import Pictures

    if data is not None:
        samples = open_test_split(data)
        defective = np.array([sample.defective for sample in samples], np.bool_)
        return Pictures(np.stack(list(read_frames(samples, size))), defective)
    rng = np.random.default_rng(0)
    drawn = [resize_frame(draw_part(rng, kind)[0], size) for kind in (None, *DEFECTS) for _ in range(8)]
    # Their labels say nothing of the part that the bundle was made for.
    return Pictures(np.stack(drawn), None)
