"""Calibration from the command line: the bundle it writes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from calibration.parts import write_dataset
from engines.bundle import open_bundle
from engines.registry import open_engine
from tests.conftest import RunTaktline


def test_the_bundle_says_how_it_was_made(drawn: Path, tmp_path: Path, taktline: RunTaktline) -> None:
    out = tmp_path / "runs" / "flange"
    done = taktline(
        "calibrate",
        drawn,
        "--out",
        out,
        "--backbone",
        "untrained",
        "--steps",
        40,
        "--seed",
        3,
        "--value",
        2.5,
        "--size",
        "128x64",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert "UNTRAINED" in done.stderr
    assert "30 good parts are few" in " ".join(done.stderr.split())
    manifest = json.loads(done.stdout)
    assert manifest["threshold"]["value"] == manifest["threshold"]["parameter"] == 2.5
    assert manifest["threshold"]["samples"] == 6
    assert manifest["training"]["seed"] == 3
    assert manifest["heatmap"]["grid"] == [8, 16]
    with open_engine(open_bundle(out), "openvino", "f32", max_batch=1) as engine:
        assert engine.infer(np.zeros((1, 64, 128, 3), np.uint8)).heatmap.shape == (1, 8, 16)
    assert manifest["backbone"]["source"] == "untrained"
    assert manifest["network"]["context"] == 0
    pictures = {"good.png", "good.template.png"}
    assert set(manifest["files"]) == {"model.onnx", "model.fp16.onnx", "network.safetensors", *pictures}
    assert open_bundle(out).manifest.model_dump(mode="json") == manifest
    assert [path.name for path in out.parent.iterdir()] == ["flange"]


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ("tall", "give one number or WIDTHxHEIGHT"),
        ("224x", "give one number or WIDTHxHEIGHT"),
        ("224x560x3", "give one number or WIDTHxHEIGHT"),
        ("100", "give multiples of 16 between 64 and 1024"),
        ("224x2048", "give multiples of 16 between 64 and 1024"),
    ],
)
def test_a_size_that_the_network_cannot_take_is_refused(
    drawn: Path, tmp_path: Path, size: str, problem: str, taktline_in_process: RunTaktline
) -> None:
    done = taktline_in_process("calibrate", drawn, "--out", tmp_path / "bundle", "--size", size)
    assert done.returncode == 2
    assert problem in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def small_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "small"
    write_dataset(root, seed=2, train=12, good=1, defective=0)
    return root


@pytest.fixture
def small(small_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_once, tmp_path / "small"))


def refusal(taktline: RunTaktline, *arguments: object) -> str:
    """Runs a command that must be refused and returns its one sentence."""
    done = taktline(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("taktline:")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_picture_that_is_cut_short_is_named_and_nothing_is_left(
    small: Path, taktline_in_process: RunTaktline
) -> None:
    broken = small / "train" / "good" / "007.png"
    broken.write_bytes(broken.read_bytes()[:2000])
    out = small.parent / "runs" / "bundle"
    assert "007.png is cut short" in refusal(
        taktline_in_process, "calibrate", small, "--out", out, "--backbone", "untrained"
    )
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["calibrate", "nowhere", "--out", "b"], "no folder nowhere"),
        (["calibrate", "{small}", "--out", "b", "--backbone", "nothing.pth"], "no weights file nothing.pth"),
        (["calibrate", "{small}", "--out", "{small}", "--backbone", "untrained"], "not a model bundle"),
        (["replay", "nobundle", "{small}"], "nobundle is not a model bundle"),
        (["replay", "{bundle}", "nowhere"], "no folder nowhere"),
        (["replay", "{bundle}", "{small}", "--fps", "0"], "above 0 frames a second"),
        (["replay", "{bundle}", "{small}", "--fps", "-3"], "above 0 frames a second"),
        (["replay", "{bundle}", "{small}", "--bind", "nonsense"], "tcp://"),
        (["replay", "{bundle}", "{small}", "--engine", "openvio"], "must be one of auto, tensorrt, openvino"),
        (["run", "missing.toml"], "missing.toml cannot be read"),
        (["watch", "nonsense"], "not an address"),
        (["demo", "--fps", "0", "--out", "{out}"], "above 0 frames a second"),
        (["demo", "--fps", "nan", "--out", "{out}"], "above 0 frames a second"),
        (["demo", "--out", "{file}"], "cannot be created"),
        (["demo", "--out", "{small}"], "holds other files"),
        (["demo", "--data", "nowhere", "--out", "{out}"], "no folder nowhere"),
    ],
)
def test_bad_input_gets_one_sentence(
    arguments: list[str], message: str, small: Path, bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    names = {"small": small, "bundle": bundle_path, "out": tmp_path / "demo"}
    (tmp_path / "file").touch()
    names["file"] = tmp_path / "file" / "demo"
    before = sorted(small.rglob("*"))
    assert message in refusal(taktline_in_process, *(argument.format(**names) for argument in arguments))
    assert sorted(small.rglob("*")) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "small"]


def test_a_bundle_that_was_altered_is_not_replayed(
    small: Path, bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    copy = Path(shutil.copytree(bundle_path, tmp_path / "copy"))
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"!")
    assert "model.onnx was altered" in refusal(taktline_in_process, "replay", copy, small)
