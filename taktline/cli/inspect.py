"""`taktline inspect`: verdicts for stored pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engines.errors import ConfigError, TaktlineError
from taktline.cli.console import progress_bars, show, show_json, stderr
from taktline.cli.options import DeviceOption, EngineOption, JsonFlag, PrecisionOption, ReportFile, flatten
from taktline.cli.signals import on_signals

if TYPE_CHECKING:
    from calibration.progress import Reporter
    from engines.bundle import Bundle
    from pipeline.archive.inspector import Wishes
    from pipeline.archive.picture import Picture
    from pipeline.archive.results import Results
    from pipeline.archive.row import Row
    from pipeline.config.sections import DecisionSection

    Inspecting = Callable[[Iterable[Picture]], Iterator[Row]]


@dataclass(frozen=True)
class RunsOn:
    """Which engine inspects."""

    engine: EngineOption = "auto"
    precision: PrecisionOption = "auto"
    device: DeviceOption = None
    max_batch: Annotated[int, typer.Option(min=1, max=256, help="Frames in a batch.")] = 8


@dataclass(frozen=True)
class Decides:
    """What makes a part defective."""

    sigma: Annotated[float | None, typer.Option(help="Threshold in sigma. Default: the bundle's.")] = None
    rule: Annotated[
        Literal["score", "score-or-region"], typer.Option(help="Whether a region of the heatmap decides as well.")
    ] = "score"
    region_sigma: Annotated[float | None, typer.Option(help="Its threshold in sigma. Default: the bundle's.")] = None
    min_region_px: Annotated[int, typer.Option(min=0, help="Smaller regions do not count, in pixels.")] = 0

    def section(self) -> DecisionSection:
        """Returns it as a line file has it."""
        from pipeline.config.sections import DecisionSection

        if self.region_sigma is not None and self.rule == "score":
            raise ConfigError("--region-sigma needs --rule score-or-region")
        return DecisionSection(
            sigma=self.sigma, rule=self.rule, region_sigma=self.region_sigma, heatmaps="none",
            min_region_px=self.min_region_px,
        )  # fmt: skip


@flatten
def inspect(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folder, pattern, picture, zip, tar or Parquet file, a line's journal, or s3://bucket/prefix."
        ),
    ],
    runs_on: RunsOn,
    decides: Decides,
    bundle: Annotated[Path, typer.Option(help="Model bundle.")],
    out: Annotated[Path, typer.Option(help="Table of results: .parquet, .csv or .jsonl.")],
    save_heatmaps: Annotated[
        Path | None, typer.Option(help="Write defective parts with their heatmap as PNG to this folder.")
    ] = None,
    heatmaps: Annotated[Literal["ng", "all"], typer.Option(help="With --save-heatmaps: which parts.")] = "ng",
    report: ReportFile = None,
    ray: Annotated[
        str | None, typer.Option(help="Inspect on this Ray cluster: its head's address, or auto for the one here.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Inspect stored pictures, each exactly once. After a kill, the same command goes on where it stopped.

    Example: taktline inspect archive/2025 parts.zip --bundle runs/bottle --out results.parquet
    """
    from engines.bundle import open_bundle
    from engines.files import check_writable, make_folder
    from pipeline.archive.inspector import Wishes
    from pipeline.archive.results import Results
    from pipeline.archive.stores import check_sources
    from taktline.cli.inspect_summary import Inspection, inspection_tables, write_inspection

    opened, decision = open_bundle(bundle), decides.section()
    check_sources(sources)
    if report is not None:
        check_writable(report)
    if save_heatmaps is not None:
        around = [source for source in sources if save_heatmaps.resolve().is_relative_to(Path(source).resolve())]
        if around:
            raise ConfigError(f"the folder {save_heatmaps} lies in the source {around[0]}; give another folder")
        make_folder(save_heatmaps, "give another --save-heatmaps")
    wishes = Wishes("none" if save_heatmaps is None else heatmaps, report is not None)
    plan = {
        "bundle": opened.sha256, "decision": decision.model_dump(), "tiles": wishes.tiles, "heatmaps": wishes.heatmaps,
        "folder": None if save_heatmaps is None else str(save_heatmaps.resolve()),
    }  # fmt: skip
    threshold = opened.manifest.threshold.value if decision.sigma is None else decision.sigma
    with (
        Results(out, plan) as results,
        _inspecting(opened, runs_on, decision, wishes, threshold, ray) as inspecting,
        progress_bars() as progress,
    ):
        if results.earlier:
            stderr().print(f"{results.earlier} pictures were inspected before; going on with the others")
        began = time.monotonic()
        count = _inspect(sources, results, inspecting, save_heatmaps, progress)
        results.flush()
        found = Inspection(opened, threshold, results.kept, count, time.monotonic() - began)
        found.read(results.finish())
    if report is not None:
        write_inspection(report, found)
    if as_json:
        show_json(found.to_json())
    else:
        show(*inspection_tables(found))


@contextmanager
def _inspecting(
    bundle: Bundle, runs_on: RunsOn, decision: DecisionSection, wishes: Wishes, threshold: float, ray: str | None
) -> Iterator[Inspecting]:
    """Yields what inspects: an engine here, or those of a Ray cluster."""
    from engines.registry import open_engine
    from pipeline.archive.inspector import Inspector

    wanted = (runs_on.engine, runs_on.precision, runs_on.max_batch, runs_on.device)
    if ray is None:
        with (
            open_engine(bundle, *wanted, "throughput", threshold) as engine,
            Inspector(bundle, engine, decision, wishes) as inspector,
        ):
            yield inspector.inspect
        return
    from pipeline.archive.on_ray import Cluster, EngineWish

    with Cluster(ray, bundle, EngineWish(*wanted, threshold), decision, wishes) as cluster:
        yield cluster.inspect


def _inspect(
    sources: list[str], results: Results, inspecting: Inspecting, heatmaps: Path | None, progress: Reporter
) -> int:
    """Enters a row for every picture that has none, and returns how many.

    Raises:
        TaktlineError: a store ended half-way, the engine failed, the disk is full, or the run was interrupted. The rows
            of what was inspected are kept.
    """
    from pipeline.archive.picture import OpenStores
    from pipeline.archive.row import store_overlay
    from pipeline.archive.stores import list_pictures

    stopped: list[bool] = []
    listed = count = 0

    def wanted(stores: OpenStores) -> Iterator[Picture]:
        nonlocal listed
        for picture in list_pictures(sources, results.claim, stores):
            if stopped:
                return
            listed += 1
            yield picture

    try:
        with OpenStores() as stores, on_signals(lambda: stopped.append(True)):
            for row in inspecting(wanted(stores)):
                store_overlay(row, heatmaps)
                results.add(row)
                count += 1
                progress("inspecting", count, listed)
    except TaktlineError as error:
        with suppress(TaktlineError):
            results.flush()
        raise type(error)(f"{error}; {_kept(results)}") from error
    if stopped:
        results.flush()
        raise TaktlineError(f"it was interrupted; {_kept(results)}")
    return count


def _kept(results: Results) -> str:
    if not results.kept:
        return "nothing is kept yet"
    return f"the results of {results.kept} pictures are kept, and the same command goes on from there"
