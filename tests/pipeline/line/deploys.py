"""Deploys to a running line, good ones and broken ones, and then SIGTERM: it must end drained, with exit code 0.

By hand: `python -m tests.pipeline.line.deploys BUNDLE PARTS --runs 20 --deploys 12`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engines.bundle import open_bundle, update_manifest
from engines.errors import TaktlineError
from pipeline.client.orders import tell_line
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.protocol.orders import Order
from tests.paths import ROOT

_PATIENCE_MS = 120_000


def make_bundles(bundle: Path, folder: Path) -> tuple[Path, Path]:
    """Makes a bundle of the same part to deploy, and a broken one."""
    good = Path(shutil.copytree(bundle, folder / "good"))
    update_manifest(open_bundle(good), {"created_at": "1970-01-01T00:00:00+00:00"})
    broken = Path(shutil.copytree(bundle, folder / "broken"))
    with (broken / "model.onnx").open("ab") as file:
        file.write(b"!")
    return good, broken


def deploy_and_end(bundle: Path, parts: Path, folder: Path, deploys: list[bool]) -> tuple[int, str, str, int]:
    """Runs a line, deploys a good (True) or broken bundle each time, and sends SIGTERM.

    Returns:
        Its exit code, output and errors, and how many verdicts a subscriber had by then.
    """
    good, broken = make_bundles(bundle, folder)
    addresses = [f"ipc://{folder / name}" for name in ("verdicts", "orders")]
    line_file = folder / "line.toml"
    line_file.write_text(
        f'[line]\nname = "press4"\n[model]\nbundle = "{bundle}"\nengine = "openvino"\nprecision = "f32"\n'
        f'max_batch = 2\n[[camera]]\nname = "top"\nsource = "folder:{parts}"\nfollow = true\n'
        f'[publish]\nverdicts = "{addresses[0]}"\nawait_subscribers = 1\n[control]\nbind = "{addresses[1]}"\n'
    )
    command = [sys.executable, "-m", "taktline", "run", str(line_file), "--json"]
    with (
        VerdictSubscriber(addresses[0]) as subscriber,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env=os.environ | {"XDG_RUNTIME_DIR": str(folder)},
        ) as process,
    ):  # fmt: skip
        try:
            seen = 1
            subscriber.receive(120)
            bundles = [good, bundle]
            for works in deploys:
                order = Order(do="deploy", bundle=str(bundles[0] if works else broken))
                if works:
                    tell_line(addresses[1], order, _PATIENCE_MS)
                    bundles.reverse()
                else:
                    with pytest.raises(TaktlineError, match="was altered"):
                        tell_line(addresses[1], order, _PATIENCE_MS)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        try:
            while True:
                subscriber.receive(0.2)
                seen += 1
        except TimeoutError:
            pass
    return process.returncode, out, err, seen


def main() -> None:
    """Repeats it from the command line, each time in another order, and ends with 1 at the first failure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=lambda word: Path(word).resolve())
    parser.add_argument("parts", type=lambda word: Path(word).resolve())
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--deploys", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    for run in range(arguments.runs):
        deploys = [rng.random() < 0.6 for _ in range(arguments.deploys)]
        with tempfile.TemporaryDirectory() as folder:
            code, out, err, seen = deploy_and_end(arguments.bundle, arguments.parts, Path(folder), deploys)
        frames = json.loads(out)["frames"] if code == 0 else None
        print(f"run {run}: {deploys.count(True)} good, {deploys.count(False)} broken; exit {code}, {frames} frames")
        if code != 0 or frames != seen:
            sys.exit(err)


if __name__ == "__main__":
    main()
