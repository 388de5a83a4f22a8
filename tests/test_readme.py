"""Every command in the README works as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from pipeline.config.line_file import check_config
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_commands_of_a_first_real_use(drawn: Path, tmp_path: Path) -> None:
    """Run in their order, on drawn parts in the place of `bottle`; `watch` runs beside what follows it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bottle").symlink_to(drawn)
    (tmp_path / "line.toml").write_text(blocks("toml")[0])
    environment = os.environ | {"TAKTLINE_BACKBONE": "untrained", "PYTHONPATH": str(ROOT)}
    commands = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("taktline")]
    assert len(commands) >= 4
    watching: list[subprocess.Popen[str]] = []
    for command in commands:
        arguments = [sys.executable, "-m", *shlex.split(command)]
        process = subprocess.Popen(arguments, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        if arguments[3] == "watch":
            watching.append(process)
            time.sleep(3)
            continue
        if arguments[3] in ("run", "bridge"):
            assert process.stderr is not None
            assert any("runs:" in line or "is up" in line for line in iter(process.stderr.readline, ""))
            process.terminate()
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, f"{command}: {errors}"
    for process in watching:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert len(list((tmp_path / "runs" / "bottle-heatmaps").glob("*.png"))) == 18


def test_its_settings_are_settings() -> None:
    first, *others = (tomllib.loads(block) for block in blocks("toml"))
    assert others
    for values in others:
        check_config(first | values, "README.md")


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_make_targets_exist(target: str) -> None:
    assert f"make {target}" in README
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_its_pictures_are_there() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file()


def test_it_names_no_package_index() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in files:
        if name.endswith((".py", ".toml", ".md")) or name in ("Makefile", ".ci/run"):
            text = (ROOT / name).read_text()
            assert not re.search(r"(?:index-ur[l]|find-link[s])\s*[=:]|://[^\s\"']*/simpl[e]\b", text), name
