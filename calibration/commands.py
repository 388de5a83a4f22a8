"""The command line's way into calibration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from calibration.progress import Reporter
from engines.errors import TaktlineError, missing_package


def calibrate(
    data: Annotated[
        Path, typer.Argument(help="Data set in MVTec AD layout: train/good, and test/... if there is one.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the model bundle to.")],
    backbone: Annotated[
        str, typer.Option(envvar="TAKTLINE_BACKBONE", help="imagenet, untrained, or a .pth or .safetensors file.")
    ] = "imagenet",
    sigma: Annotated[float, typer.Option(help="Threshold: standard deviations above the mean of good parts.")] = 2.0,
    epochs: Annotated[int, typer.Option(min=1, max=100, help="The most passes over the good parts.")] = 100,
    steps: Annotated[int, typer.Option(min=1, help="The most optimiser steps.")] = 2000,
    seed: Annotated[int, typer.Option(help="Of the split, the weights and the order.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Make a model bundle from pictures of good parts.

    Example: taktline calibrate data/bottle --out runs/bottle
    """
    try:
        from calibration.autoencoder import TrainingSettings
        from calibration.calibrate import CalibrationSettings
        from calibration.calibrate import calibrate as make_bundle
    except ImportError as error:
        raise TaktlineError(missing_package(error.name or "torch", "calibrate")) from error
    training = TrainingSettings(epochs=epochs, steps=steps, seed=seed)
    console = Console(stderr=True)
    with progress_bars(console) as report:
        bundle = make_bundle(data, out, CalibrationSettings(backbone, sigma, training=training), report)
    manifest = bundle.manifest
    if as_json:
        typer.echo(json.dumps(manifest.model_dump(mode="json")))
        return
    console.print(
        f"[bold green]{out}[/] is ready: {manifest.category}, {manifest.training.normals} good parts, "
        f"{manifest.training.epochs} epochs, validation loss {manifest.training.validation_loss[0]:.3f} to "
        f"{min(manifest.training.validation_loss):.3f}, threshold {manifest.threshold.value:g} sigma over "
        f"{manifest.threshold.samples} held-out good parts, {manifest.training.seconds:.0f} s.",
        soft_wrap=True,
    )


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
