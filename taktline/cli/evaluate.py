"""`taktline evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from calibration.defaults import DEFAULT_SPLIT
from engines.errors import ConfigError
from taktline.cli.calibrate import calibration_settings, need_calibration_packages, need_evaluation_packages
from taktline.cli.console import progress_bars, show, stderr
from taktline.cli.options import (
    BackboneArchOption,
    BackboneOption,
    EngineOption,
    JsonFile,
    PrecisionOption,
    SeedOption,
    SplitOption,
    flatten,
)
from taktline.cli.size import SizeOptions
from taktline.cli.suite import SuiteOptions, check_failed
from taktline.cli.suite_tables import evaluated_tables

if TYPE_CHECKING:
    from calibration.suite import SuitePlan


@flatten
def evaluate(
    sizes: SizeOptions,
    suite: SuiteOptions,
    bundle: Annotated[Path | None, typer.Argument(help="Model bundle.")] = None,
    data: Annotated[Path | None, typer.Argument(help="Data set with labelled test pictures.")] = None,
    out: Annotated[Path, typer.Option(help="With --all: folder for bundles, reports and the table.")] = Path(
        "runs/all"
    ),
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    json_file: JsonFile = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report to this file.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the figures in the bundle, for the dashboard.")] = False,
    miss_costs: Annotated[
        float | None,
        typer.Option(
            help="How many false alarms one missed defect costs: shows the threshold where mistakes cost least."
        ),
    ] = None,
    backbone: BackboneOption = "imagenet",
    backbone_arch: BackboneArchOption = "resnet50",
    split: SplitOption = DEFAULT_SPLIT,
    steps: Annotated[int, typer.Option(min=1, help="With --all: maximum optimiser steps.")] = 2000,
    seed: SeedOption = 0,
) -> None:
    """Evaluate a bundle on labelled parts, or calibrate and evaluate every category of a data set.

    Every category, with three seeds, on a cluster: taktline evaluate --all data --seeds 0,1,2 --ray auto

    Example: taktline evaluate runs/bottle data/bottle --report bottle.html
    """
    suite.check()
    need_evaluation_packages()
    from engines.files import check_writable

    for path in (json_file, report):
        if path is not None:
            check_writable(path)
    if suite.all_under is not None:
        if bundle is not None or data is not None or report is not None or keep:
            raise ConfigError(
                "--all takes no bundle, data set, --report or --keep; it writes a report for each category"
            )
        need_calibration_packages()
        from calibration.suite import SuitePlan

        settings = calibration_settings(
            backbone, "sigma", None, split, sizes, 100, steps, 1024, 1e-3, seed, backbone_arch
        )
        if miss_costs is not None:
            raise ConfigError("--all takes no --miss-costs: one defect costs more than another; evaluate one by one")
        _evaluate_all(suite, out, SuitePlan(settings, engine, precision), json_file)
        return
    if bundle is None or data is None:
        raise ConfigError("give a bundle and a data set, or --all and the folder that holds the categories")
    _evaluate_one(bundle, data, split, seed, engine, precision, miss_costs, json_file, report, keep)


def _evaluate_one(
    bundle: Path, data: Path, split: float, seed: int, engine: str, precision: str, miss_costs: float | None,
    json_file: Path | None, report: Path | None, keep: bool,
) -> None:  # fmt: skip
    from calibration.batch import at_once
    from calibration.dataset import open_test_split
    from calibration.evaluate import evaluate as run_evaluation
    from calibration.evaluate import keep_evaluation
    from calibration.report import write_report
    from calibration.threshold import check_parameter
    from engines.bundle import open_bundle
    from engines.registry import open_engine
    from taktline.cli.evaluate_tables import evaluation_tables

    if miss_costs is not None:
        check_parameter("cost", miss_costs)
    opened = open_bundle(bundle)
    samples = open_test_split(data, split, seed)
    batch = at_once(opened.size)
    with progress_bars() as progress, open_engine(opened, engine, precision, batch, measure=False) as running:
        evaluation = run_evaluation(opened, running, samples, progress, seed, miss_costs)
    if report is not None:
        write_report(report, opened, evaluation)
    _write_json(json_file, {"engine": evaluation.engine, "bundle": opened.sha256} | evaluation.metrics)
    show(*evaluation_tables(evaluation))
    if keep:
        kept = keep_evaluation(opened, evaluation, data.resolve().name)
        stderr().print(f"{escape(str(bundle))} keeps these figures; its id is now {kept.short_id}", highlight=False)


def _evaluate_all(suite: SuiteOptions, out: Path, plan: SuitePlan, json_file: Path | None) -> None:
    from calibration.suite_figures import suite_table

    outcomes = suite.run(out, plan)
    table = suite_table(outcomes)
    _write_json(out / "table.json", table)
    _write_json(json_file, table)
    show(*evaluated_tables(table), f"reports and table.json in [bold]{escape(str(out))}[/]")
    check_failed(outcomes)


def _write_json(path: Path | None, values: dict[str, Any]) -> None:
    if path is None:
        return
    from engines.files import save

    save(path, json.dumps(values, indent=2) + "\n")
