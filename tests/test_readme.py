"""Every command in the README works as it stands there."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import pytest
import typer.main

import taktline
from pipeline.config.line_file import check_config
from taktline.cli.app import build_app
from tests.paths import ROOT

README = (ROOT / "README.md").read_text()


# What is appended so that a command takes seconds (a small network for the bundle, a brief training), and so that the
# subscriber beside it misses nothing.
APPENDED = {
    "calibrate": ("--size", "64", "--steps", "40", "--backbone-arch", "resnet18"),
    "evaluate --all": ("--size", "64", "--steps", "20", "--backbone-arch", "resnet18"),
    "replay": ("--await-subscribers", "1"),
    "dashboard": ("--bind", "127.0.0.1:0"),
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.long(110)
def test_the_commands_run_in_their_order(drawn: Path, tmp_path: Path) -> None:
    """On drawn parts in the place of `bottle`, and of another category; `watch` runs beside what follows it."""
    (tmp_path / "data" / "notes").mkdir(parents=True)
    for category in ("bottle", "screw"):
        (tmp_path / "data" / category).symlink_to(drawn)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "today").symlink_to(drawn / "train" / "good")
    (tmp_path / "line.toml").write_text(blocks("toml")[0])
    # A line of this name may run on this machine already.
    environment = os.environ | {
        "TAKTLINE_BACKBONE": "untrained", "PYTHONPATH": str(ROOT), "XDG_RUNTIME_DIR": str(tmp_path)
    }  # fmt: skip
    commands = [line for block in blocks("bash") for line in block.splitlines() if not line.startswith("make ")]
    watching: list[subprocess.Popen[str]] = []
    called = set()
    printed = tmp_path / "printed"
    with ExitStack() as started:
        for command in commands:
            words = shlex.split(command)
            assert words[0] == "taktline"
            called.add(words[1])
            call = " ".join(words[1:])
            more = [word for start, extra in APPENDED.items() if call.startswith(start) for word in extra]
            arguments = [sys.executable, "-m", *words, *more]
            out: IO[str] | None = None
            if call.startswith("evaluate --all"):
                out = started.enter_context(printed.open("w"))
            process = started.enter_context(
                subprocess.Popen(
                    arguments, cwd=tmp_path, env=environment, stdout=out, stderr=subprocess.PIPE, text=True
                )
            )
            started.callback(process.kill)
            if words[1] == "watch":
                watching.append(process)
                continue
            if words[1] in ("run", "bridge", "dashboard"):
                assert process.stderr is not None
                said = []
                for line in iter(process.stderr.readline, ""):
                    said.append(line)
                    if "runs:" in line or "is running" in line:
                        break
                else:
                    pytest.fail(f"{command}: {''.join(said)}")
                process.terminate()
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, f"{command}: {errors}"
        for process in watching:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
    assert len(list((tmp_path / "runs" / "bottle-heatmaps").glob("*.png"))) == 18
    kinds = {"calibrate", "dataset", "evaluate", "threshold", "adapt", "compare", "engines", "replay", "run", "watch"}
    assert called == kinds | {"camera", "journal", "bridge", "keys", "bench", "dashboard", "inspect"}
    check_table(tmp_path / "runs" / "all", printed.read_text())


def check_table(folder: Path, printed: str) -> None:
    """All categories stand in one table, and beside them what others published of the same ones."""
    rows = json.loads((folder / "table.json").read_text())["rows"]
    assert [row["category"] for row in rows] == ["bottle", "screw", "mean"]
    assert rows[2]["auroc"] == pytest.approx((rows[0]["auroc"] + rows[1]["auroc"]) / 2)
    assert (folder / "bottle.html").is_file()
    printed = printed.replace("\n", "")
    assert "98.1" in printed
    assert "99.1" not in printed


def test_the_commands_in_its_text_exist() -> None:
    """With all their options; what they take otherwise may be left out there."""
    group = typer.main.get_command(build_app())
    spans = [
        " ".join(span.split())
        for span in re.findall(r"`(taktline [^`]*)`", re.sub(r"```.*?```", "", README, flags=re.DOTALL))
    ]
    assert len(spans) > 5
    for span in spans:
        words = shlex.split(span)[1:]
        command: Any = group
        while words and hasattr(command, "commands") and not words[0].startswith("-"):
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for word in words:
            assert not word.startswith("--") or word in known, span


def test_its_python_imports_from_the_front_door_only() -> None:
    (program,) = blocks("python")
    imported = [node for node in ast.walk(ast.parse(program)) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imported if node.module == "taktline" for alias in node.names}
    assert names
    assert names <= set(taktline.__all__)
    assert {node.module for node in imported} <= {"pathlib", "taktline"}


def test_its_settings_are_settings() -> None:
    first, *others = (tomllib.loads(block) for block in blocks("toml"))
    assert others
    for values in others:
        check_config(first | values, "README.md")


@pytest.mark.parametrize("target", ["demo", "test", "watch"])
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
