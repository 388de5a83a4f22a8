"""`taktline calibrate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from calibration.defaults import DEFAULT_SPLIT
from engines.architecture import Arch
from engines.errors import ConfigError
from engines.extras import require
from engines.threshold_rule import Rule
from taktline.cli.console import progress_bars, show, show_json, stderr
from taktline.cli.options import (
    BackboneArchOption,
    BackboneOption,
    JsonFlag,
    OptionalData,
    SeedOption,
    SplitOption,
    flatten,
)
from taktline.cli.rule import FalseAlarmsOption, MissCostsOption, RuleOption, ValueOption, read_rule, threshold_sentence
from taktline.cli.size import SizeOptions, size_table
from taktline.cli.stored import AddedJournal
from taktline.cli.suite import SuiteOptions, check_failed
from taktline.cli.suite_tables import bundle_values, calibrated_tables

if TYPE_CHECKING:
    from calibration.calibrate import CalibrationSettings
    from engines.added import Added

_EVALUATION = ("jinja2", "matplotlib", "sklearn")
_ROI_NUMBERS = 4


@flatten
def calibrate(
    added: AddedJournal,
    sizes: SizeOptions,
    suite: SuiteOptions,
    out: Annotated[Path, typer.Option(help="Folder to write the model bundle to; with --all, the bundles.")],
    data: OptionalData = None,
    backbone: BackboneOption = "imagenet",
    backbone_arch: BackboneArchOption = "resnet50",
    rule: RuleOption = None,
    value: ValueOption = None,
    max_false_alarms: FalseAlarmsOption = None,
    miss_costs: MissCostsOption = None,
    split: SplitOption = DEFAULT_SPLIT,
    epochs: Annotated[int, typer.Option(min=1, max=100, help="Maximum passes over the good parts.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Maximum optimiser steps.")] = 2000,
    batch_size: Annotated[int, typer.Option(min=16, help="Feature cells per optimiser step.")] = 1024,
    lr: Annotated[float, typer.Option(help="Adam's peak learning rate.")] = 1e-3,
    seed: SeedOption = 0,
    ignore: Annotated[
        Path | None, typer.Option(help="Picture, white where frames are ignored, such as a background or a clamp.")
    ] = None,
    roi: Annotated[
        str | None, typer.Option(help="x,y,width,height in pixels of the pictures; all outside is ignored.")
    ] = None,
    int8: Annotated[
        bool | None,
        typer.Option("--int8/--no-int8", help="Also make an 8-bit model for OpenVINO; by default with 100 good parts."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a model bundle from pictures of good parts.

    Every category, with three seeds: taktline calibrate --all data --out runs/all --seeds 0,1,2

    Example: taktline calibrate data/bottle --out runs/bottle
    """
    suite.check()
    chosen, parameter = read_rule(rule, value, max_false_alarms, miss_costs)
    settings = calibration_settings(
        backbone, chosen, parameter, split, sizes, epochs, steps, batch_size, lr, seed, backbone_arch
    )
    settings = replace(settings, int8=int8, ignore=ignore, roi=None if roi is None else parse_roi(roi))
    if suite.all_under is not None:
        if data is not None or added.addition() is not None:
            raise ConfigError("--all takes no data set and nothing from a journal; give one data set for that")
        _calibrate_all(suite, out, settings, as_json)
        return
    if data is None:
        raise ConfigError("give a data set, or --all and the folder that holds the categories")
    from calibration.calibrate import calibrate as make_bundle

    addition = added.addition()
    with progress_bars() as report:
        bundle = make_bundle(data, out, settings, report, addition)
    manifest = bundle.manifest
    if as_json:
        show_json(manifest.model_dump(mode="json"))
        return
    losses = manifest.training.validation_loss
    stderr().print(
        f"[bold green]{escape(str(out))}[/] is ready: {manifest.category}, {manifest.training.normals} good parts, "
        f"{manifest.training.epochs} epochs, validation loss {losses[0]:.3f} to {min(losses):.3f}, "
        f"{manifest.training.seconds:.0f} s."
    )
    if manifest.training.size_reason is not None:
        stderr().print(size_table(manifest.training.sizes), f"{manifest.training.size_reason}.")
    if manifest.ignored is not None:
        stderr().print(f"{manifest.ignored.share:.0%} of every frame is ignored; ignored.png in the bundle shows what.")
    if manifest.training.added is not None:
        stderr().print(*(escape(said) for said in added_sentences(manifest.training.added)), sep="\n")
    stderr().print(threshold_sentence(manifest.threshold))


def _calibrate_all(suite: SuiteOptions, out: Path, settings: CalibrationSettings, as_json: bool) -> None:
    from calibration.suite import SuitePlan

    outcomes = suite.run(out, SuitePlan(settings), as_json)
    if as_json:
        show_json([bundle_values(outcome) for outcome in outcomes])
    else:
        show(*calibrated_tables(outcomes), f"bundles in [bold]{escape(str(out))}[/]")
    check_failed(outcomes)


def added_sentences(added: Added) -> list[str]:
    """Says what a calibration took from a journal, and what came of what it missed."""
    good = added.false_alarms + added.confirmed_good + added.unlabelled
    return [
        f"{good} of its good parts come from {added.journal}: {added.false_alarms} false alarms, "
        f"{added.confirmed_good} that a person confirmed, and {added.unlabelled} that the line accepted and nobody "
        "labelled.",
        f"It finds {added.found_missed} of {added.missed_defects} missed defects, and {added.found_confirmed} of "
        f"{added.confirmed_defects} that the line had found; it learnt from none of them.",
    ]


def calibration_settings(
    backbone: str, rule: Rule, value: float | None, split: float, sizes: SizeOptions, epochs: int, steps: int,
    batch_size: int, lr: float, seed: int, arch: Arch = "resnet50",
) -> CalibrationSettings:  # fmt: skip
    """Checks the options of a calibration and returns them as its settings.

    Raises:
        ConfigError: a value is out of range.
        TaktlineError: a package that calibration needs is not installed.
    """
    need_calibration_packages()
    from calibration.autoencoder import TrainingSettings
    from calibration.calibrate import CalibrationSettings
    from engines.network import NetworkConfig

    if not 0 < lr < 1:
        raise ConfigError(f"the learning rate is {lr:g}; give one above 0 and below 1, such as 0.001")
    training = TrainingSettings(epochs, steps, learning_rate=lr, batch_size=batch_size, seed=seed)
    return sizes.apply(CalibrationSettings(backbone, rule, value, split, NetworkConfig.of(arch), training=training))


def parse_roi(text: str) -> tuple[int, int, int, int]:
    """Reads a region of interest such as `100,40,800,600`.

    Raises:
        ConfigError: it is none.
    """
    numbers = [number.strip() for number in text.split(",")]
    if len(numbers) != _ROI_NUMBERS or not all(number.isascii() and number.isdigit() for number in numbers):
        raise ConfigError(
            f"the region of interest is '{text}'; give x,y,width,height in pixels, such as 100,40,800,600"
        )
    x, y, width, height = map(int, numbers)
    return x, y, width, height


def need_calibration_packages() -> None:
    """Imports everything that calibration needs, so that a missing package is reported before any work.

    Raises:
        TaktlineError: a package is not installed.
    """
    for module in (*_EVALUATION, "onnxscript", "safetensors", "torch", "torchvision"):
        require(module, "calibrate")


def need_evaluation_packages() -> None:
    """Imports what thresholds and evaluation need, as above: a line PC can have it without PyTorch.

    Raises:
        TaktlineError: a package is not installed.
    """
    for module in _EVALUATION:
        require(module, "evaluate")
