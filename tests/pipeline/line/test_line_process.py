"""A line as a process: signals, the summary, the defaults, and the base install."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from calibration.dataset import open_test_split
from pipeline.client.subscriber import VerdictSubscriber
from tests.conftest import RunTaktline
from tests.paths import ROOT
from tests.programs import run_program


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_followed_folder_with_everything_answered(
    number: signal.Signals, drawn: Path, bundle_path: Path, endpoint: str, tmp_path: Path
) -> None:
    inbox = Path(shutil.copytree(drawn / "test" / "good", tmp_path / "inbox"))
    line_file = tmp_path / "line.toml"
    line_file.write_text(
        f'[model]\nbundle = "{bundle_path}"\n[[camera]]\nname = "top"\nsource = "folder:inbox"\nfollow = true\n'
        f'[publish]\nverdicts = "{endpoint}"\nawait_subscribers = 1\n'
    )
    command = [sys.executable, "-m", "taktline", "run", str(line_file), "--json"]
    with (
        VerdictSubscriber(endpoint) as subscriber,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process,
    ):
        received = [subscriber.receive(60)[0] for _ in range(8)]
        shutil.copy(inbox / "000.png", inbox / "new.png")
        received.append(subscriber.receive(60)[0])
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert received[-1].part == "new.png"
    assert json.loads(out)["frames"] == 9


def test_replay_beside_watch(
    drawn: Path, bundle_path: Path, endpoint: str, tmp_path: Path, taktline: RunTaktline
) -> None:
    command = [sys.executable, "-m", "taktline", "watch", endpoint, "--json", "--count", "18", "--timeout", "120"]
    overlays = tmp_path / "overlays"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as watch:
        replay = taktline(
            "replay", bundle_path, drawn, "--fps", 60, "--bind", endpoint, "--await-subscribers", 1, "--json",
            "--save-heatmaps", overlays,
        )  # fmt: skip
        assert replay.returncode == 0, replay.stderr
        out, _ = watch.communicate(timeout=60)
    verdicts = [json.loads(line) for line in out.splitlines()]
    assert [verdict["sequence"] for verdict in verdicts] == list(range(18))
    summary = json.loads(replay.stdout)
    assert summary["frames"] == 18
    assert sum(summary["against_labels"]["confusion"].values()) == 18
    assert len(list(overlays.glob("*.png"))) == 18


def test_the_summary_is_readable(drawn: Path, bundle_path: Path, endpoint: str, taktline: RunTaktline) -> None:
    done = taktline("replay", bundle_path, drawn, "--fps", 200, "--bind", endpoint)
    assert done.returncode == 0, done.stderr
    for word in ("confusion matrix", "AUROC", "latency p50", "uninspected"):
        assert word in done.stdout


def test_the_defaults_give_every_real_part_its_verdict(
    pill: Path, pill_bundle: Path, endpoint: str, taktline: RunTaktline
) -> None:
    count = len(open_test_split(pill))
    watching = ("watch", endpoint, "--json", "--count", str(count), "--timeout", "120")
    command = [sys.executable, "-m", "taktline", *watching]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as watch:
        replay = taktline(
            "replay", pill_bundle, pill, "--fps", 30, "--bind", endpoint, "--await-subscribers", 1, "--json"
        )
        assert replay.returncode == 0, replay.stderr
        out, _ = watch.communicate(timeout=60)
    verdicts = [json.loads(line) for line in out.splitlines()]
    assert sorted(verdict["sequence"] for verdict in verdicts) == list(range(count))
    assert {verdict["verdict"] for verdict in verdicts} == {"ok", "ng"}
    assert json.loads(replay.stdout)["against_labels"]["auroc"] >= 0.90


def test_a_line_runs_on_the_base_install_without_torch(
    drawn: Path, bundle_path: Path, endpoint: str, tmp_path: Path
) -> None:
    """In a virtual environment of its own, with nothing but what the package asks for."""
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    source = tmp_path / "source"
    skip = shutil.ignore_patterns(".venv", ".git", "runs", "build", "*.egg-info", ".mypy_cache", ".ruff_cache", "tests")
    shutil.copytree(ROOT, source, ignore=skip)
    install = subprocess.run(
        [str(home / "bin" / "pip"), "install", "--quiet", "--no-compile", "--disable-pip-version-check", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert install.returncode == 0, install.stderr
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return run_program(*arguments, cwd=tmp_path, environment=environment)

    assert run(home / "bin" / "python", "-c", "import torch").returncode == 1
    taktline = home / "bin" / "taktline"
    replay = run(taktline, "replay", bundle_path, drawn, "--fps", 60, "--bind", endpoint, "--json")
    assert replay.returncode == 0, replay.stderr
    assert json.loads(replay.stdout)["frames"] == 18
    (tmp_path / "line.toml").write_text(
        f'[model]\nbundle = "{bundle_path}"\n[[camera]]\nname = "top"\nsource = "folder:{drawn}/test/good"\n'
        f'[publish]\nverdicts = "{endpoint}"\n'
    )
    line = run(taktline, "run", "line.toml", "--json")
    assert line.returncode == 0, line.stderr
    assert json.loads(line.stdout)["frames"] == 8
    for command in (["calibrate", drawn, "--out", "b"], ["demo", "--data", drawn]):
        refused = run(taktline, *command)
        assert refused.returncode == 2
        assert re.search(r"install it with: pip install 'taktline\[calibrate\]'", refused.stderr.replace("\n", " "))
    refused = run(taktline, "replay", bundle_path, drawn, "--engine", "torch", "--bind", endpoint)
    assert refused.returncode == 2
    assert re.search(r"install it with: pip install 'taktline\[calibrate\]'", refused.stderr.replace("\n", " "))
