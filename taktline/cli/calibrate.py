"""`taktline calibrate` and `taktline threshold`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from calibration.defaults import DEFAULT_SPLIT
from engines.candidates import AUTO
from engines.errors import ConfigError
from engines.extras import require
from engines.threshold_rule import Rule
from taktline.cli.console import progress_bars, show, show_json, stderr
from taktline.cli.options import (
    BackboneOption,
    BundleArgument,
    DataArgument,
    JsonFlag,
    SeedOption,
    SizeOption,
    SplitOption,
)

if TYPE_CHECKING:
    from calibration.calibrate import CalibrationSettings
    from engines.manifest import Threshold

RuleOption = Annotated[Rule, typer.Option(help="How to choose the threshold.")]
ValueOption = Annotated[
    float | None,
    typer.Option(min=-1000, max=1000, help="Number of sigmas (default 2), or the false-alarm rate (default 0.01)."),
]


def calibrate(
    data: DataArgument,
    out: Annotated[Path, typer.Option(help="Folder to write the model bundle to.")],
    backbone: BackboneOption = "imagenet",
    rule: RuleOption = "sigma",
    value: ValueOption = None,
    split: SplitOption = DEFAULT_SPLIT,
    size: SizeOption = "224",
    epochs: Annotated[int, typer.Option(min=1, max=100, help="Maximum passes over the good parts.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="Maximum optimiser steps.")] = 2000,
    batch_size: Annotated[int, typer.Option(min=16, help="Feature cells per optimiser step.")] = 1024,
    lr: Annotated[float, typer.Option(help="Adam's peak learning rate.")] = 1e-3,
    seed: SeedOption = 0,
    int8: Annotated[bool, typer.Option("--int8", help="Also make an 8-bit model for OpenVINO.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a model bundle from pictures of good parts.

    Example: taktline calibrate data/bottle --out runs/bottle
    """
    settings = calibration_settings(backbone, rule, value, split, size, epochs, steps, batch_size, lr, seed)
    from calibration.calibrate import calibrate as make_bundle

    with progress_bars() as report:
        bundle = make_bundle(data, out, replace(settings, int8=int8), report)
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
        stderr().print(f"{manifest.training.size_reason}.")
    stderr().print(threshold_sentence(manifest.threshold))


def threshold(
    bundle: BundleArgument,
    rule: RuleOption = "sigma",
    value: ValueOption = None,
    data: Annotated[Path | None, typer.Option(help="For the rule f1: a data set with labelled test pictures.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Choose a new threshold for a bundle, without training.

    Example: taktline threshold runs/bottle --rule false-alarm-rate --value 0.02
    """
    need_calibration_packages()
    from calibration.calibrate import decide_threshold
    from calibration.dataset import open_test_split
    from engines.bundle import open_bundle

    if (rule == "f1") != (data is not None):
        raise ConfigError("the rule f1 needs --data with labelled test pictures; the other rules take no --data")
    samples = open_test_split(data) if data is not None else ()
    chosen = decide_threshold(open_bundle(bundle), rule, value, samples).manifest.threshold
    if as_json:
        show_json(chosen.model_dump(mode="json"))
    else:
        show(threshold_sentence(chosen))


def calibration_settings(
    backbone: str, rule: Rule, value: float | None, split: float, size: str, epochs: int, steps: int,
    batch_size: int, lr: float, seed: int,
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
    training = TrainingSettings(epochs, steps, lr, batch_size, seed)
    network = NetworkConfig() if size == AUTO else NetworkConfig(size=parse_size(size))
    return CalibrationSettings(backbone, rule, value, split, network, size == AUTO, training)


def parse_size(text: str) -> tuple[int, int]:
    """Reads the network's input size, such as `224` or, width first, `224x560`, and returns height and width.

    Raises:
        ConfigError: it is no size, or one that the network cannot take.
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() for side in sides):
        raise ConfigError(f"the size is '{text}'; give one number or WIDTHxHEIGHT, such as 224 or 224x560, or auto")
    width, height = int(sides[0]), int(sides[-1])
    if not all(side % 16 == 0 and 64 <= side <= 1024 for side in (width, height)):
        raise ConfigError(f"the size is {text}; give multiples of 16 between 64 and 1024, such as 224 or 224x560")
    return height, width


def need_calibration_packages() -> None:
    """Imports everything that calibration needs, so that a missing package is reported before any work.

    Raises:
        TaktlineError: a package is not installed.
    """
    for module in ("jinja2", "matplotlib", "onnxscript", "safetensors", "sklearn", "torch", "torchvision"):
        require(module, "calibrate")


def threshold_sentence(threshold: Threshold) -> str:
    """Returns a sentence with a threshold and its expected false alarms, and its warning if there is one."""
    low, high = threshold.interval_per_1000
    text = (
        f"Threshold {threshold.value:.3f} sigma (rule {threshold.rule}): {threshold.false_alarms_per_1000:.1f} false "
        f"alarms expected in 1000 good parts, and between {low / 10:.0f} and {high / 10:.0f} in the next 100 (99 %), "
        f"from {threshold.samples} held-out good parts."
    )
    return f"{text} [yellow]Warning: {threshold.warning}.[/]" if threshold.warning else text
