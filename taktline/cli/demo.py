"""`taktline demo`: the whole product at work on drawn parts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from engines.errors import TaktlineError
from engines.extras import require
from engines.files import make_folder, save
from taktline.cli.console import progress_bars, show
from taktline.cli.options import BackboneOption, SeedOption

_TIMEOUT_S = 600
_RESULT = "demo.json"
_FIX = "give a new folder with --out"


@dataclass(frozen=True)
class _Scale:
    """How much a demonstration draws and trains.

    Attributes:
        train: good parts to train on.
        good: good parts to inspect.
        defective: parts to inspect with each of the five defects.
        steps: maximum optimiser steps.
        size: height and width of the network's input.
    """

    train: int
    good: int
    defective: int
    steps: int
    size: int


_FULL = _Scale(train=100, good=40, defective=10, steps=500, size=224)
_QUICK = _Scale(train=20, good=6, defective=2, steps=100, size=64)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the data, the bundle and the overlays.")] = Path("runs/demo"),
    data: Annotated[Path | None, typer.Option(help="Data set in MVTec AD layout, instead of drawn parts.")] = None,
    backbone: BackboneOption = "imagenet",
    fps: Annotated[
        float | None, typer.Option(help="Frames per second. Default: 30; with --watch, 2 for each camera.")
    ] = None,
    seed: SeedOption = 0,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Few parts, small pictures, brief training: only shows that everything runs."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Let the parts pass again and again, and show them on the dashboard.")
    ] = False,
    bind: Annotated[str | None, typer.Option(help="With --watch: HOST:PORT of the dashboard.")] = None,
) -> None:
    """Show the whole product at work: draw parts, calibrate, replay them, receive the verdicts in another process.

    Example: taktline demo --watch
    """
    if watch:
        for package in ("nicegui", "argon2"):
            require(package, "dashboard")
    elif bind is not None:
        raise TaktlineError("--bind is for --watch; add it, or leave --bind out")
    fps = (2.0 if watch else 30.0) if fps is None else fps
    if not 0 < fps < float("inf"):
        raise TaktlineError(f"the frame rate is {fps:g}; give one above 0 frames a second")
    from calibration.dataset import open_dataset

    console = Console(highlight=False, soft_wrap=True)
    scale = _QUICK if quick else _FULL
    if data is not None:
        open_dataset(data)
    _claim(out)
    bundle = out / "bundle"
    if watch and data is None and _is_made(out):
        root = out / "data"
        console.print(f"the parts and the bundle in {escape(str(out))} are used again")
    else:
        root = _draw(out, seed, scale, console) if data is None else data
        _calibrate(root, bundle, backbone, seed, scale, console)
    if watch:
        from taktline.cli.demo_watch import watch_demo

        console.rule("a running line, and its dashboard")
        watch_demo(out, root, fps, seed, bind, console)
        return
    parts = len(open_dataset(root).test)
    overlays = out / "overlays"
    shutil.rmtree(overlays, ignore_errors=True)
    console.rule("replay, watched by another process over ZeroMQ")
    summary, verdicts = _replay(bundle, root, fps, seed, parts, overlays)
    save(out / _RESULT, json.dumps({"summary": summary, "verdicts": verdicts}), _FIX)
    sequences = [verdict["sequence"] for verdict in verdicts]
    if sequences != list(range(parts)):
        raise TaktlineError(
            f"{parts} parts passed, but {len(set(sequences))} verdicts arrived; this is a defect of Taktline: report it"
        )
    _print_summary(console, summary, len(verdicts))

    from taktline.cli.gallery import write_gallery

    page = write_gallery(out / "index.html", overlays, verdicts)
    console.print(
        f"overlays in [bold]{escape(str(overlays))}[/]; open [bold]{escape(str(page))}[/] in a browser to see them all"
    )


def _claim(out: Path) -> None:
    """Marks a folder as a demonstration's, whose data and overlays the next one removes.

    Raises:
        TaktlineError: it holds something else, or cannot be written.
    """
    make_folder(out, _FIX)
    if not (out / _RESULT).is_file() and any(out.iterdir()):
        raise TaktlineError(f"the folder {out} holds other files; {_FIX}")
    save(out / _RESULT, "{}", _FIX)


def _is_made(out: Path) -> bool:
    """Returns whether an earlier demonstration left drawn parts and a bundle of them that can be used."""
    from calibration.dataset import open_dataset
    from engines.bundle import open_bundle

    try:
        open_bundle(out / "bundle")
        return bool(open_dataset(out / "data").test)
    except TaktlineError:
        return False


def _draw(out: Path, seed: int, scale: _Scale, console: Console) -> Path:
    from calibration.parts import DEFECTS, write_dataset

    root = out / "data"
    console.print(
        f"drawing {scale.train} good parts to train on, and {scale.good} good and {len(DEFECTS) * scale.defective} "
        "defective ones to inspect"
    )
    shutil.rmtree(root, ignore_errors=True)
    try:
        with progress_bars(console) as report:
            write_dataset(root, seed, scale.train, scale.good, scale.defective, report)
    except OSError as error:
        raise TaktlineError(f"{root} cannot be written: {error.strerror or error}; {_FIX}") from error
    return root


def _calibrate(root: Path, bundle: Path, backbone: str, seed: int, scale: _Scale, console: Console) -> None:
    from dataclasses import replace

    from calibration.defaults import DEFAULT_SPLIT
    from taktline.cli.calibrate import calibration_settings
    from taktline.cli.size import SizeOptions

    settings = calibration_settings(
        backbone, "sigma", None, DEFAULT_SPLIT, SizeOptions(str(scale.size)), 100, scale.steps, 1024, 1e-3, seed
    )
    from calibration.backbone import ImagenetWeightsMissing
    from calibration.calibrate import calibrate

    console.rule("calibrate on good parts only")
    try:
        with progress_bars(console) as report:
            calibrate(root, bundle, settings, report)
    except ImagenetWeightsMissing:
        console.print(
            "[yellow]The ImageNet weights are not in the cache and cannot be downloaded. The demonstration continues "
            "with an untrained network, which is good enough for its own parts but not for yours.[/]"
        )
        with progress_bars(console) as report:
            calibrate(root, bundle, replace(settings, backbone="untrained"), report)


def _replay(
    bundle: Path, root: Path, fps: float, seed: int, parts: int, overlays: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Replays the parts in one process, receives their verdicts in another, and returns summary and verdicts."""
    address = f"ipc://{overlays.parent.resolve() / 'verdicts.sock'}"
    watch = subprocess.Popen(
        _taktline("watch", address, "--json", "--count", parts, "--timeout", _TIMEOUT_S),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        replay = subprocess.run(
            _taktline(
                *("replay", bundle, root, "--fps", fps, "--seed", seed, "--bind", address, "--await-subscribers", 1),
                *("--save-heatmaps", overlays, "--json"),
            ),
            stdout=subprocess.PIPE,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if replay.returncode:
            raise TaktlineError(f"the replay ended with exit code {replay.returncode}; its message is above")
        received, _ = watch.communicate(timeout=30)
    except subprocess.TimeoutExpired as error:
        raise TaktlineError("the verdicts did not arrive in time; try again with a lower --fps") from error
    finally:
        watch.kill()
        watch.wait()
    return json.loads(replay.stdout), [json.loads(line) for line in received.splitlines()]


def _taktline(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "taktline", *map(str, arguments)]


def _print_summary(console: Console, summary: dict[str, Any], received: int) -> None:
    from taktline.cli.run_tables import confusion_table

    labels, latency = summary["against_labels"], summary["latency_ms"]
    title = f"{received} parts, {received} verdicts received over ZeroMQ"
    show(confusion_table(labels["confusion"], title), console=console)
    figures = {name: labels[name] for name in ("auroc", "precision", "recall", "f1")}
    text = ", ".join(f"{name} {'-' if value is None else format(value, '.3f')}" for name, value in figures.items())
    console.print(f"{text}; latency p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms")
