"""The demonstration: the whole product at work on parts that it draws itself."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from calibration.dataset import open_dataset
from calibration.parts import write_dataset
from engines.errors import TaktlineError
from engines.extras import require
from taktline.cli.calibrate import progress_bars

_TRAIN, _GOOD, _DEFECTIVE = 100, 40, 10
_DEMO_STEPS = 500
_PORT_ANY = "ipc://{}"
_TIMEOUT_S = 600


def run_demo(out: Path, data: Path | None, backbone: str, fps: float, seed: int) -> None:
    """Draws parts (or takes a data set), calibrates, replays them through the default engine, and subscribes to the
    verdicts from another process over a real socket.

    Args:
        out: folder for everything it makes; an earlier demonstration there is replaced.
        data: a data set in MVTec AD layout, or None to draw one.
        backbone: as for `taktline calibrate`; where ImageNet weights cannot be had it goes on without.
        fps: frame rate of the replay.
        seed: of the parts and the calibration.

    Raises:
        TaktlineError: a step failed, or not every frame got its verdict.
    """
    console = Console(highlight=False, soft_wrap=True)
    if fps <= 0:
        raise TaktlineError(f"the frame rate is {fps:g}; give one above 0 frames a second")
    root = _draw(out, seed, console) if data is None else data
    parts = len(open_dataset(root).test)
    bundle = out / "bundle"
    _calibrate(root, bundle, backbone, seed, console)
    overlays = out / "overlays"
    shutil.rmtree(overlays, ignore_errors=True)
    console.rule("replay, watched by another process over ZeroMQ")
    summary, verdicts = _replay(bundle, root, fps, seed, parts, overlays)
    sequences = [verdict["sequence"] for verdict in verdicts]
    if sequences != list(range(parts)):
        raise TaktlineError(f"{parts} parts passed but {len(set(sequences))} verdicts arrived; this is a defect")
    _print_summary(console, summary, len(verdicts))
    page = write_gallery(out / "index.html", overlays, verdicts)
    console.print(f"overlays in [bold]{overlays}[/]; look at [bold]{page}[/] in a browser")


def write_gallery(page: Path, overlays: Path, verdicts: list[dict[str, Any]]) -> Path:
    """Writes a page that shows every overlay with its verdict, the highest score first."""
    pictures = {int(path.name.split("_", 1)[0]): path for path in sorted(overlays.glob("*.png"))}
    figures = []
    for verdict in sorted(verdicts, key=lambda item: -(item["score"] or 0.0)):
        path = pictures.get(verdict["sequence"])
        if path is None:
            continue
        caption = (
            f"<b>{verdict['verdict']}</b> {verdict['score']:.2f} / {verdict['threshold']:.2f}"
            f"<br>{html.escape(verdict['part'] or '')}"
        )
        figures.append(
            f'<figure class="{verdict["verdict"]}"><img src="{html.escape(overlays.name)}/'
            f'{html.escape(path.name)}" loading="lazy" alt=""><figcaption>{caption}</figcaption></figure>'
        )
    page.write_text(_PAGE.replace("@FIGURES@", "\n".join(figures)), encoding="utf-8")
    return page


def _draw(out: Path, seed: int, console: Console) -> Path:
    root = out / "data"
    console.print(
        f"drawing {_TRAIN} good parts to learn from, {_GOOD} good and {5 * _DEFECTIVE} defective ones to inspect"
    )
    shutil.rmtree(root, ignore_errors=True)
    with progress_bars(console) as report:
        write_dataset(root, seed, _TRAIN, _GOOD, _DEFECTIVE, report)
    return root


def _calibrate(root: Path, bundle: Path, backbone: str, seed: int, console: Console) -> None:
    require("calibration.calibrate", "calibrate")
    from calibration.autoencoder import TrainingSettings
    from calibration.backbone import ImagenetWeightsMissing
    from calibration.calibrate import CalibrationSettings, calibrate

    training = TrainingSettings(steps=_DEMO_STEPS, seed=seed)
    console.rule("calibrate on good parts only")
    try:
        with progress_bars(console) as report:
            calibrate(root, bundle, CalibrationSettings(backbone, training=training), report)
    except ImagenetWeightsMissing:
        console.print(
            "[yellow]No ImageNet weights in the cache or to be downloaded: the demonstration goes on with an "
            "untrained network, which is enough for its own parts but not for yours.[/]"
        )
        with progress_bars(console) as report:
            calibrate(root, bundle, CalibrationSettings("untrained", training=training), report)


def _replay(
    bundle: Path, root: Path, fps: float, seed: int, parts: int, overlays: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    address = _PORT_ANY.format(overlays.parent.resolve() / "verdicts.sock")
    watch = subprocess.Popen(
        _taktline("watch", address, "--json", "--count", str(parts), "--timeout", str(_TIMEOUT_S)),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        replay = subprocess.run(
            _taktline(
                "replay",
                str(bundle),
                str(root),
                "--fps",
                str(fps),
                "--seed",
                str(seed),
                "--bind",
                address,
                "--await-subscribers",
                "1",
                "--save-heatmaps",
                str(overlays),
                "--json",
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


def _taktline(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "taktline", *arguments]


def _print_summary(console: Console, summary: dict[str, Any], received: int) -> None:
    from rich.table import Table

    labels = summary["against_labels"]
    confusion = labels["confusion"]
    table = Table(title=f"{received} parts, {received} verdicts received over ZeroMQ")
    for name in ("", "verdict ok", "verdict ng"):
        table.add_column(name, justify="right")
    table.add_row("good part", str(confusion["tn"]), str(confusion["fp"]))
    table.add_row("defective part", str(confusion["fn"]), str(confusion["tp"]))
    console.print(table)
    latency = summary["latency_ms"]
    figures = {name: labels[name] for name in ("auroc", "precision", "recall", "f1")}
    text = ", ".join(f"{name} {'-' if value is None else format(value, '.3f')}" for name, value in figures.items())
    console.print(f"{text}; latency p50 {latency['p50']:.0f} ms, p99 {latency['p99']:.0f} ms")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Taktline: the parts that passed</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  body { margin: 2rem; background: #14171a; color: #e8eaed; font: 15px/1.4 system-ui, sans-serif }
  h1 { font-weight: 600 } p { max-width: 60rem; color: #aab0b6 }
  main { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1rem }
  figure { margin: 0; background: #1f2428; border-radius: 6px; overflow: hidden; border-top: 4px solid #2e9e5b }
  figure.ng { border-top-color: #e5484d } img { width: 100%; display: block }
  figcaption { padding: .5rem .7rem; font-size: 13px; color: #aab0b6 }
  figcaption b { color: #e8eaed; text-transform: uppercase }
</style></head><body>
<h1>The parts that passed</h1>
<p>Score against threshold in sigma of good parts, the highest first. The heatmap's scale is the same for every part;
the white line outlines what lies above the heatmap's own threshold.</p>
<main>
@FIGURES@
</main></body></html>
"""
