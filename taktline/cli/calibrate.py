"""The command line's way into calibration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from calibration.dataset import DEFAULT_SPLIT, find_dataset, open_test_split
from calibration.progress import Reporter
from calibration.survey import survey_dataset
from engines.bundle import open_bundle
from engines.errors import ConfigError
from engines.extras import require
from engines.files import check_writable, save_text
from engines.manifest import Rule
from engines.registry import open_engine
from taktline.cli.calibration_tables import category_tables, evaluation_tables, survey_table, threshold_sentence

if TYPE_CHECKING:
    from calibration.calibrate import CalibrationSettings

DataArgument = Annotated[Path, typer.Argument(help="Data set: MVTec AD, BTAD or VisA layout, or good/ and defects.")]
BackboneOption = Annotated[
    str, typer.Option(envvar="TAKTLINE_BACKBONE", help="imagenet, untrained, or a .pth or .safetensors file.")
]
SplitOption = Annotated[float, typer.Option(help="Share of good parts to learn from, where there is no train folder.")]
RuleOption = Annotated[Rule, typer.Option(help="How the threshold is chosen.")]
ValueOption = Annotated[float | None, typer.Option(help="Sigma (default 2), or the false-alarm rate (default 0.01).")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures into this file.")]
EngineOption = Annotated[str, typer.Option(help="auto, tensorrt, openvino, onnxruntime or torch.")]
PrecisionOption = Annotated[
    str, typer.Option(help="auto (fast, with a second look in float32), f32, bf16, f16, int8, int8+f32 and the like.")
]
SeedOption = Annotated[int, typer.Option(help="Of the splits, the weights and the order.")]


def calibrate(
    data: DataArgument,
    out: Annotated[Path, typer.Option(help="Folder to write the model bundle to.")],
    backbone: BackboneOption = "imagenet",
    rule: RuleOption = "sigma",
    value: ValueOption = None,
    split: SplitOption = DEFAULT_SPLIT,
    size: Annotated[int, typer.Option(help="Height and width of the network's input, a multiple of 16.")] = 224,
    epochs: Annotated[int, typer.Option(min=1, max=100, help="The most passes over the good parts.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="The most optimiser steps.")] = 2000,
    batch_size: Annotated[int, typer.Option(min=16, help="Cells of features in one step.")] = 1024,
    lr: Annotated[float, typer.Option(help="Adam's highest learning rate.")] = 1e-3,
    seed: SeedOption = 0,
    int8: Annotated[bool, typer.Option("--int8", help="Make an 8-bit model for OpenVINO as well.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a model bundle from pictures of good parts.

    Example: taktline calibrate data/bottle --out runs/bottle
    """
    settings = _settings(backbone, rule, value, split, size, epochs, steps, batch_size, lr, seed)
    from calibration.calibrate import calibrate as make_bundle

    settings = replace(settings, int8=int8)
    console = Console(stderr=True)
    with progress_bars(console) as report:
        bundle = make_bundle(data, out, settings, report)
    manifest = bundle.manifest
    if as_json:
        typer.echo(json.dumps(manifest.model_dump(mode="json")))
        return
    console.print(
        f"[bold green]{out}[/] is ready: {manifest.category}, {manifest.training.normals} good parts, "
        f"{manifest.training.epochs} epochs, validation loss {manifest.training.validation_loss[0]:.3f} to "
        f"{min(manifest.training.validation_loss):.3f}, {manifest.training.seconds:.0f} s.",
        soft_wrap=True,
    )
    console.print(threshold_sentence(manifest.threshold), soft_wrap=True)


def threshold(
    bundle: Annotated[Path, typer.Argument(help="Model bundle.")],
    rule: RuleOption = "sigma",
    value: ValueOption = None,
    data: Annotated[Path | None, typer.Option(help="For the rule f1: a data set with labelled test pictures.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Choose a bundle's threshold anew, without training.

    Example: taktline threshold runs/bottle --rule false-alarm-rate --value 0.02
    """
    _need_calibration_packages()
    from calibration.calibrate import decide_threshold

    if (rule == "f1") != (data is not None):
        raise ConfigError("the rule f1, and only it, needs --data with labelled test pictures")
    opened = open_bundle(bundle)
    changed = decide_threshold(opened, rule, value, open_test_split(data) if data is not None else ())
    if as_json:
        typer.echo(json.dumps(changed.manifest.threshold.model_dump(mode="json")))
    else:
        Console().print(threshold_sentence(changed.manifest.threshold), soft_wrap=True)


def evaluate(
    bundle: Annotated[Path | None, typer.Argument(help="Model bundle.")] = None,
    data: Annotated[Path | None, typer.Argument(help="Data set with labelled test pictures.")] = None,
    all_under: Annotated[
        Path | None, typer.Option("--all", help="Calibrate and evaluate every category under this folder instead.")
    ] = None,
    out: Annotated[Path, typer.Option(help="With --all: folder for the bundles, reports and the table.")] = Path(
        "runs/all"
    ),
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    json_file: JsonFile = None,
    report: Annotated[Path | None, typer.Option(help="Write a report (HTML) into this file.")] = None,
    backbone: BackboneOption = "imagenet",
    split: SplitOption = DEFAULT_SPLIT,
    steps: Annotated[int, typer.Option(min=1, help="With --all: the most optimiser steps.")] = 2000,
    seed: SeedOption = 0,
) -> None:
    """Say how good a bundle is on labelled parts, or calibrate and evaluate every category of a data set.

    Example: taktline evaluate runs/bottle data/bottle --report bottle.html
    """
    _need_calibration_packages()

    for path in (json_file, report):
        if path is not None:
            check_writable(path)
    if all_under is not None:
        if bundle is not None or data is not None or report is not None:
            raise ConfigError(
                "--all takes no bundle, data set or --report of its own; it writes a report for each category"
            )
        settings = _settings(backbone, "sigma", None, split, 224, 100, steps, 1024, 1e-3, seed)
        _evaluate_all(all_under, out, settings, engine, json_file)
        return
    if bundle is None or data is None:
        raise ConfigError("give a bundle and a data set, or --all and the folder that holds the categories")
    _evaluate_one(bundle, data, split, seed, engine, precision, json_file, report)


def dataset(
    data: DataArgument, split: SplitOption = DEFAULT_SPLIT, seed: SeedOption = 0, as_json: JsonFlag = False
) -> None:
    """Say what was understood of a data set: layout, counts, sizes and problems.

    Example: taktline dataset data/bottle
    """
    found = find_dataset(data, split, seed)
    with progress_bars(Console(stderr=True)) as report:
        survey = survey_dataset(found, report)
    if as_json:
        typer.echo(json.dumps(survey.to_json()))
        return
    console = Console()
    console.print(survey_table(survey))
    for problem in survey.problems:
        console.print(f"[yellow]•[/] {problem}", soft_wrap=True, highlight=False)
    if not survey.problems:
        console.print("[green]no problems found[/]")


@contextmanager
def progress_bars(console: Console) -> Iterator[Reporter]:
    """Shows a bar with the time left for every step that reports."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(task: str, done: int, total: int, note: str = "") -> None:
            if task not in tasks:
                tasks[task] = progress.add_task(task, total=total, note=note)
            progress.update(tasks[task], completed=done, total=total, note=note)

        yield report


def _evaluate_one(
    bundle: Path, data: Path, split: float, seed: int, engine: str, precision: str,
    json_file: Path | None, report: Path | None,
) -> None:  # fmt: skip
    from calibration.evaluate import evaluate as run_evaluation
    from calibration.report import write_report

    opened = open_bundle(bundle)
    samples = open_test_split(data, split, seed)
    with progress_bars(Console(stderr=True)) as show, open_engine(opened, engine, precision, 8) as running:
        evaluation = run_evaluation(opened, running, samples, show, seed)
    if report is not None:
        write_report(report, opened, evaluation)
    _write_json(json_file, {"engine": evaluation.engine, "bundle": opened.sha256} | evaluation.metrics)
    Console().print(*evaluation_tables(evaluation), sep="\n")


def _evaluate_all(root: Path, out: Path, settings: CalibrationSettings, engine: str, json_file: Path | None) -> None:
    from calibration.report import write_report
    from calibration.suite import run_suite, suite_table

    results = []
    with progress_bars(Console(stderr=True)) as show:
        for result in run_suite(root, out, settings, engine, show):
            write_report(out / f"{result.category}.html", result.bundle, result.evaluation)
            results.append(result)
    rows = suite_table(results)
    _write_json(out / "table.json", {"rows": rows})
    _write_json(json_file, {"rows": rows})
    console = Console()
    console.print(*category_tables(rows), sep="\n")
    console.print(f"reports and table.json in [bold]{out}[/]")


def _write_json(path: Path | None, values: dict[str, Any]) -> None:
    if path is None:
        return
    save_text(path, json.dumps(values, indent=2) + "\n")


def _settings(
    backbone: str, rule: Rule, value: float | None, split: float, size: int, epochs: int, steps: int,
    batch_size: int, lr: float, seed: int,
) -> CalibrationSettings:  # fmt: skip
    _need_calibration_packages()
    from calibration.autoencoder import TrainingSettings
    from calibration.calibrate import CalibrationSettings
    from engines.network import NetworkConfig

    if size % 16 or not 64 <= size <= 1024:
        raise ConfigError(f"the size is {size}; give a multiple of 16 between 64 and 1024, such as 224")
    if not 0 < lr < 1:
        raise ConfigError(f"the learning rate is {lr:g}; give one above 0 and below 1, such as 0.001")
    training = TrainingSettings(epochs, steps, lr, batch_size, seed)
    return CalibrationSettings(backbone, rule, value, split, NetworkConfig(size=(size, size)), training)


def _need_calibration_packages() -> None:
    for module in ("jinja2", "matplotlib", "onnxscript", "safetensors", "sklearn", "torch", "torchvision"):
        require(module, "calibrate")
