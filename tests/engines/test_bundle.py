"""A bundle is opened whole and unaltered, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engines import bundle as bundle_module
from engines.bundle import MANIFEST, MODEL_F32, Bundle, new_bundle, open_bundle, update_manifest, write_manifest
from engines.errors import BundleError


@pytest.fixture
def copy(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_path, tmp_path / "copy"))


@pytest.mark.long(80)
def test_a_whole_bundle_opens(bundle: Bundle) -> None:
    assert bundle.size == (224, 224)
    assert len(bundle.short_id) == 12
    assert bundle.manifest.category == "flange"
    assert len(bundle.manifest.training.train_loss) == bundle.manifest.training.epochs
    assert bundle.manifest.training.train_loss[-1] < bundle.manifest.training.train_loss[0]


@pytest.mark.parametrize("name", ["model.onnx", "model.fp16.onnx", "network.safetensors"])
def test_an_altered_file_is_named(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name} was altered"):
        open_bundle(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / MODEL_F32).unlink()
    with pytest.raises(BundleError, match=MODEL_F32):
        open_bundle(copy)


def test_another_schema_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(BundleError, match="schema version 99"):
        open_bundle(copy)


def test_a_bundle_of_version_4_opens_and_becomes_version_5_where_it_is_changed(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest["threshold"]["tail"]
    (copy / MANIFEST).write_text(json.dumps(manifest | {"schema_version": 4}))
    bundle = open_bundle(copy)
    assert bundle.manifest.threshold.tail is None
    assert update_manifest(bundle, {"category": "nut"}).manifest.schema_version == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unknown": 1}, "unknown"),
        ({"threshold": {"value": "high"}}, "threshold.value"),
        ({"files": {"../model.onnx": "0" * 64}}, "outside the bundle"),
    ],
)
def test_a_manifest_that_was_tampered_with_is_refused(copy: Path, change: dict[str, object], message: str) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(manifest | change))
    with pytest.raises(BundleError, match=message):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("threshold.value", float("nan"), r"threshold.value: Input should be a finite number"),
        ("threshold.value", float("inf"), r"threshold.value: Input should be a finite number"),
        ("threshold.value", 1.9e18, r"threshold.value: Input should be less than or equal to 1000"),
        ("statistics.mean", float("nan"), r"statistics.mean: Input should be a finite number"),
        ("statistics.scores", [0.0, float("inf")], r"statistics.scores.1: Input should be a finite number"),
        ("heatmap.full_scale", float("inf"), r"heatmap.full_scale: Input should be a finite number"),
        ("network.size", [1e9, 1e9], r"network: its size is \[1000000000.0, 1000000000.0\], not two multiples of 16"),
        ("network.size", [0, 64], "not two multiples of 16 from 32 to 4096"),
        ("network.size", [100, 224], "not two multiples of 16 from 32 to 4096"),
        ("network.size", "large", "not two multiples of 16 from 32 to 4096"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_in_one_sentence(
    faulty: Bundle, tmp_path: Path, where: str, value: object, message: str
) -> None:
    path = Path(shutil.copytree(faulty.path, tmp_path / "copy"))
    manifest = json.loads((path / MANIFEST).read_text())
    part, name = where.split(".")
    manifest[part][name] = value
    (path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=message) as refused:
        open_bundle(path)
    assert str(refused.value).endswith("calibrate the bundle again")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_manifest_that_is_no_manifest_is_refused(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises(BundleError):
        open_bundle(copy)


def test_a_failed_write_leaves_the_old_bundle_and_nothing_else(copy: Path) -> None:
    before = sorted(path.name for path in copy.parent.iterdir())
    sha256 = open_bundle(copy).sha256
    with pytest.raises(RuntimeError), new_bundle(copy) as folder:
        (folder / "half").write_text("written")
        raise RuntimeError("power went out")
    assert sorted(path.name for path in copy.parent.iterdir()) == before
    assert open_bundle(copy).sha256 == sha256


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_bundle_is_replaced_and_nothing_else_is_left(
    faulty: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_one_step: bool
) -> None:
    path = Path(shutil.copytree(faulty.path, tmp_path / "copy"))

    def refuse(*_: Path) -> None:
        raise OSError("a file system that cannot swap")

    if not in_one_step:
        monkeypatch.setattr(bundle_module, "exchange", refuse)
    with new_bundle(path) as folder:
        shutil.copytree(faulty.path, folder, dirs_exist_ok=True)
        write_manifest(folder, {**faulty.manifest.model_dump(mode="json"), "category": "another"})
    assert open_bundle(path).manifest.category == "another"
    assert [found.name for found in tmp_path.iterdir()] == ["copy"]


def test_a_folder_that_is_no_bundle_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(BundleError, match="not a model bundle"), new_bundle(tmp_path / "letters"):
        pass
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"
