"""`taktline engines` and `taktline build`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from engines.errors import ConfigError
from taktline.cli.console import progress_bars, show, show_json
from taktline.cli.options import BundleArgument, JsonFlag, MaxBatchOption
from taktline.cli.table import Column, ResultTable

if TYPE_CHECKING:
    from bench.measure.agreement import Agreement, EngineState, Pictures


def engines(
    check: Annotated[
        Path | None, typer.Option(help="A model bundle: run every engine on the same pictures and compare them.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Argument(help="With --check: a data set whose test pictures are used. Default: drawn parts."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the engines that can run here, or check that they all agree.

    Example: taktline engines --check runs/bottle data/bottle
    """
    from bench.measure.agreement import check_agreement, list_engines
    from engines.bundle import open_bundle

    if check is None:
        if data is not None:
            raise ConfigError("a data set is only used with --check BUNDLE")
        states = list_engines()
        if as_json:
            show_json([asdict(state) for state in states])
        else:
            show(engines_table(states))
        return
    bundle = open_bundle(check)
    pictures = _pictures(bundle.size, data)
    with progress_bars() as report:
        results = check_agreement(bundle, pictures, lambda note, done, total: report("engines", done, total, note))
    if as_json:
        show_json([result.to_json() for result in results])
    else:
        show(agreement_table(results, len(pictures.frames)))


def build(
    bundle: BundleArgument,
    engine: Annotated[str, typer.Option(help="Engine to build for; only tensorrt builds ahead.")] = "tensorrt",
    precision: Annotated[str, typer.Option(help="f16 or f32. A second look needs both.")] = "f16",
    max_batch: MaxBatchOption = 8,
    compute_capability: Annotated[
        str | None, typer.Option(help="Such as 8.9. Default: that of this machine's GPU.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Build a TensorRT plan ahead of time into the cache (TAKTLINE_CACHE, or ~/.cache/taktline).

    Example: taktline build runs/bottle --compute-capability 8.9
    """
    if engine != "tensorrt":
        raise ConfigError(f"the engine {engine} has nothing to build ahead; give tensorrt")
    from engines.bundle import open_bundle
    from engines.plans import build_ahead

    opened = open_bundle(bundle)
    with progress_bars() as report:
        plan = build_ahead(opened, precision, max_batch, compute_capability, report)
    if as_json:
        show_json({"plan": str(plan), "bytes": plan.stat().st_size})
    else:
        show(Text(f"{plan} is ready ({plan.stat().st_size / 1e6:.0f} MB)"))


def engines_table(states: list[EngineState]) -> ResultTable:
    """Shows every engine, and whether it can run here."""
    table = ResultTable(
        "engine",
        Column("device", prose=True),
        Column("precisions", prose=True),
        Column("here", prose=True),
        title="engines",
    )
    for state in states:
        here = Text("can run", "green") if state.reason is None else Text(state.reason, "yellow")
        table.add_row(state.name, state.device or "-", ", ".join(state.precisions) or "-", here)
    return table


def agreement_table(results: list[Agreement], pictures: int) -> ResultTable:
    """Shows how far each engine lies from the reference."""
    table = ResultTable(
        "engine",
        *("mean", "p99", "largest", "heatmap r", "AUROC", "flips (furthest)", "rescored", "images/s", "good/s"),
        title=f"{pictures} pictures, against PyTorch in float32",
        caption="differences in sigma; images a second from arrays in batches of 8",
    )
    for result in results:
        table.add_row(
            f"{result.engine} {result.device} {result.precision}",
            f"{result.mean:+.4f}",
            f"{result.p99:.4f}",
            f"{result.largest:.4f}",
            f"{result.heatmap:.5f}",
            "-" if result.auroc is None else f"{result.auroc:.4f}",
            f"{result.flips} ({result.furthest_flip:.2f})" if result.flips else "0",
            f"{result.twice:.1%}",
            f"{result.images_per_s:.1f}",
            "-" if result.good_images_per_s is None else f"{result.good_images_per_s:.1f}",
        )
    return table


def _pictures(size: tuple[int, int], data: Path | None) -> Pictures:
    import numpy as np

    from bench.measure.agreement import Pictures
    from calibration.dataset import open_test_split, read_frames
    from calibration.parts import DEFECTS, draw_part
    from engines.image import resize_frame

    if data is not None:
        samples = open_test_split(data)
        defective = np.array([sample.defective for sample in samples], np.bool_)
        return Pictures(np.stack(list(read_frames(samples, size))), defective)
    rng = np.random.default_rng(0)
    drawn = [resize_frame(draw_part(rng, kind)[0], size) for kind in (None, *DEFECTS) for _ in range(8)]
    # Drawn parts have labels, but these say nothing about the part that the bundle was made for.
    return Pictures(np.stack(drawn), None)
