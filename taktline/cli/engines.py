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
    from engines.choice import Choice


def engines(
    check: Annotated[
        Path | None, typer.Option(help="A model bundle: run every engine on the same pictures and compare them.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Argument(help="With --check: a data set whose test pictures are used. Default: drawn parts."),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A model bundle: measure what `auto` chooses for it on this machine.")
    ] = None,
    hint: Annotated[str, typer.Option(help="With --bundle: latency or throughput, as in the line file.")] = "latency",
    max_batch: MaxBatchOption = 8,
    as_json: JsonFlag = False,
) -> None:
    """List the engines that can run here, measure them for a bundle, or check that they all agree.

    Example: taktline engines --bundle runs/bottle
    """
    if bundle is not None:
        if check is not None or data is not None:
            raise ConfigError("--bundle cannot be combined with --check or a data set")
        _show_choice(bundle, hint, max_batch, as_json)
        return
    from bench.measure.agreement import check_agreement, list_engines
    from engines.bundle import open_bundle

    if check is None:
        if data is not None:
            raise ConfigError("a data set needs --check BUNDLE")
        states = list_engines()
        if as_json:
            show_json([asdict(state) for state in states])
        else:
            show(engines_table(states))
        return
    opened = open_bundle(check)
    pictures = _pictures(opened.size, data)
    with progress_bars() as report:
        results = check_agreement(opened, pictures, lambda note, done, total: report("engines", done, total, note))
    if as_json:
        show_json([result.to_json() for result in results])
    else:
        show(agreement_table(results, len(pictures.frames)))


def build(
    bundle: BundleArgument,
    engine: Annotated[str, typer.Option(help="Engine to build for; only tensorrt builds in advance.")] = "tensorrt",
    precision: Annotated[str, typer.Option(help="f16 or f32. A second look needs both plans.")] = "f16",
    max_batch: MaxBatchOption = 8,
    compute_capability: Annotated[
        str | None, typer.Option(help="Compute capability, such as 8.9. Default: that of this machine's GPU.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Build a TensorRT plan in advance, into the cache (TAKTLINE_CACHE, or ~/.cache/taktline).

    Example: taktline build runs/bottle --compute-capability 8.9
    """
    if engine != "tensorrt":
        raise ConfigError(f"the engine {engine} has nothing to build in advance; give tensorrt")
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


def choice_table(choice: Choice) -> ResultTable:
    """Shows what `auto` measured and chose."""
    table = ResultTable(
        "engine",
        "images/s",
        "rescored",
        Column("", prose=True),
        title=f"measured for {choice.hint} at batch {choice.batch}",
        caption=f"took {choice.seconds:g} s at {choice.measured_at}; images/s include second looks",
    )
    for candidate in choice.candidates:
        rate = candidate.images_per_s
        share = f"{candidate.share:.1%}" if "+" in candidate.precision else "-"
        note = Text("chosen", "green") if candidate == choice.chosen else Text(candidate.left_out or "", "yellow")
        table.add_row(candidate.name, "-" if rate is None else f"{rate:.1f}", share, note)
    return table


def agreement_table(results: list[Agreement], pictures: int) -> ResultTable:
    """Shows how far each engine is from the reference."""
    table = ResultTable(
        "engine",
        *("mean", "p99", "largest", "heatmap r", "AUROC", "flips (furthest)", "rescored", "images/s", "good/s"),
        title=f"{pictures} pictures, against PyTorch in float32",
        caption="differences in sigma; images per second from arrays, in batches of 8",
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
            f"{result.rescored:.1%}",
            f"{result.images_per_s:.1f}",
            "-" if result.good_images_per_s is None else f"{result.good_images_per_s:.1f}",
        )
    return table


def _show_choice(bundle: Path, hint: str, max_batch: int, as_json: bool) -> None:
    from engines.auto import Request, choose_engine
    from engines.bundle import open_bundle

    if hint not in {"latency", "throughput"}:
        raise ConfigError(f"the hint is {hint}; give latency or throughput")
    request = Request(hint="throughput" if hint == "throughput" else "latency", max_batch=max_batch)
    choice = choose_engine(open_bundle(bundle), request)
    if as_json:
        show_json(choice.to_json())
    else:
        show(choice_table(choice), Text(choice.why))


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
    # Drawn parts have labels, but they say nothing about the part that the bundle was made for.
    return Pictures(np.stack(drawn), None)
