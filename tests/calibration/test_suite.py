"""Every category with several seeds: here, on a real Ray cluster that loses a node, and in two runs."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from calibration.autoencoder import TrainingSettings
from calibration.calibrate import CalibrationSettings
from calibration.dataset import find_dataset
from calibration.packed import pack
from calibration.parts import write_dataset
from calibration.suite import Job, Outcome, list_jobs
from calibration.suite_figures import FIGURES, suite_table
from calibration.suite_on_ray import Need
from calibration.suite_record import Record, Result
from engines.bundle import open_bundle
from tests.conftest import RunTaktline
from tests.paths import ROOT

SMALL = (
    "--backbone", "untrained", "--backbone-arch", "resnet18", "--size", 64, "--steps", 10, "--engine", "openvino",
    "--precision", "f32",
)  # fmt: skip


@pytest.fixture(scope="module")
def categories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A category of a name that nobody else has, one with too few pictures, and a folder that is none."""
    root, name = tmp_path_factory.mktemp("data"), f"disc-{uuid.uuid4().hex[:8]}"
    write_dataset(root / name, seed=0, train=12, good=4, defective=1)
    write_dataset(root / "few", seed=1, train=3, good=1, defective=1)
    (root / "notes").mkdir()
    yield root
    for left in unpacked(root):
        shutil.rmtree(left.parents[1], ignore_errors=True)


def unpacked(root: Path) -> list[Path]:
    """Where nodes have unpacked the good category."""
    return list(Path(tempfile.gettempdir()).glob(f"taktline-*/data/{good(root)}"))


def good(root: Path) -> str:
    return next(path.name for path in root.iterdir() if path.name.startswith("disc"))


def begin(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "taktline", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.long(90)
def test_a_cluster_that_loses_a_node_gives_the_table_of_one_machine(
    ray_cluster: Any,
    categories: Path,
    tmp_path: Path,
    taktline_in_process: RunTaktline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A category that is bad is one row and the end of no other; what is finished is not done a second time."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    there, here = tmp_path / "there", tmp_path / "here"
    words = ("evaluate", "--all", categories, "--seeds", "0,1", *SMALL)
    process = begin(*words, "--out", there, "--ray", ray_cluster.address)
    until = time.monotonic() + 200
    while len(unpacked(categories)) < 2 and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    ray_cluster.remove_node(ray_cluster.list_all_nodes()[1], allow_graceful=False)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 2
    assert "2 of 4 runs failed, first few with seed 0" in " ".join(said.split())
    assert taktline_in_process(*words, "--out", here).returncode == 2
    found, expected = (json.loads((out / "table.json").read_text()) for out in (there, here))
    assert found == expected
    assert [(row["category"], row["seed"]) for row in found["runs"]] == [(good(categories), 0), (good(categories), 1)]
    assert [row["category"] for row in found["failed"]] == ["few", "few"]
    assert "has 3 pictures of good parts" in found["failed"][0]["why"]
    assert found["rows"][0]["auroc"] is not None is found["rows"][1]["auroc"]
    files = [sorted(str(path.relative_to(out)) for path in out.rglob("*")) for out in (there, here)]
    assert files[0] == files[1]
    again = taktline_in_process(*words, "--out", there, "--ray", ray_cluster.address)
    assert "2 of 4 runs were finished before" in " ".join(again.stderr.split())
    assert json.loads((there / "table.json").read_text()) == expected


@pytest.mark.long(20)
def test_a_run_that_is_broken_off_says_what_is_kept_and_nobody_writes_beside_it(
    categories: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    process = begin("calibrate", "--all", categories, "--out", tmp_path / "out", *SMALL[:-4])
    assert process.stderr is not None
    said = ""
    while "12 good parts are few" not in " ".join(said.split()):
        line = process.stderr.readline()
        assert line, said
        said += line
    refused = taktline_in_process("calibrate", "--all", categories, "--out", tmp_path / "out", *SMALL[:-4])
    assert refused.returncode == 2
    assert "another run is writing into" in " ".join(refused.stderr.split())
    process.send_signal(signal.SIGINT)
    said += process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert "it was interrupted; nothing is kept yet" in " ".join(said.split())
    assert "Traceback" not in said
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--seeds", "0,1"), "--seeds, --ray and --again need --all"),
        (("--all", "{root}", "--seeds", "0,0"), "the seeds are '0,0'"),
        (("--all", "{root}", "--seeds", "one"), "the seeds are 'one'"),
        (("--all", "{root}", "--ray", "here"), "'here' is no address of a Ray"),
        (("--all", "{root}", "--ray", "127.0.0.1:1"), "there is no Ray cluster at 127.0.0.1:1"),
    ],
)
def test_mistakes(
    words: tuple[str, ...], says: str, categories: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    given = [word.format(root=categories) for word in words]
    for command in ("evaluate", "calibrate"):
        done = taktline_in_process(command, *given, "--out", tmp_path / "out")
        assert done.returncode == 2
        assert says in " ".join(done.stderr.split())


def test_a_record_holds_for_these_pictures_and_settings_only(
    categories: Path, small_bundle_path: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(small_bundle_path, tmp_path / "disc"))
    bundle = open_bundle(out)
    root = Path(shutil.copytree(categories / good(categories), tmp_path / "data"))
    settings = CalibrationSettings("untrained")

    def read(settings: CalibrationSettings = settings, engine: str | None = None) -> Result | None:
        return Record(out, find_dataset(root), settings, (engine, "auto")).read()

    assert read() is None
    Record(out, find_dataset(root), settings, (None, "auto")).write(bundle, {"auroc": 0.5})
    known = read()
    assert known is not None and known.metrics == {"auroc": 0.5} and known.bundle.sha256 == bundle.sha256
    assert read(replace(settings, training=TrainingSettings(seed=1))) is None
    assert read(engine="openvino") is None
    next((root / "test" / "good").iterdir()).write_bytes(b"another picture")
    assert read() is None


def test_means_and_spread_are_those_of_the_seeds(small_bundle_path: Path, tmp_path: Path) -> None:
    bundle = open_bundle(small_bundle_path)

    def outcome(category: str, seed: int, value: float | None) -> Outcome:
        result = None if value is None else Result(bundle, dict.fromkeys(FIGURES, value))
        return Outcome(Job(Path(category), seed, tmp_path), result, "" if result else "bad pictures")

    table = suite_table([outcome("a", 1, 0.8), outcome("a", 0, 0.6), outcome("b", 0, 0.9), outcome("b", 1, None)])
    assert [(row["category"], row["auroc"]) for row in table["rows"]] == [
        ("a", pytest.approx(0.7)), ("b", pytest.approx(0.9)), ("mean", pytest.approx(0.8))
    ]  # fmt: skip
    assert [row["auroc"] for row in table["spread"]] == [pytest.approx(0.1414, abs=1e-4), None]
    assert [(row["category"], row["seed"]) for row in table["runs"]] == [("a", 0), ("a", 1), ("b", 0)]
    assert table["failed"] == [{"category": "b", "seed": 1, "why": "bad pictures"}]
    assert suite_table([outcome("a", 0, 0.6)]).keys() == {"rows"}


def test_where_bundles_lie(categories: Path) -> None:
    assert {str(job.out.parent) for job in list_jobs(categories, Path("out"), [7])} == {"out"}
    assert {str(job.out.parent) for job in list_jobs(categories, Path("out"), [0, 7])} == {"out/seed-0", "out/seed-7"}


def test_a_packed_data_set_is_the_same_elsewhere(categories: Path, tmp_path: Path) -> None:
    """Also under a link of another name, with the weights and the mask that the settings name."""
    (tmp_path / "link").symlink_to(categories / good(categories))
    (tmp_path / "weights.pth").write_bytes(b"weights")
    (tmp_path / "clamp.png").write_bytes(b"mask")
    settings = CalibrationSettings(str(tmp_path / "weights.pth"), ignore=tmp_path / "clamp.png")
    here = find_dataset(tmp_path / "link")
    packed = pack(here, settings)
    folder = tmp_path / "node"
    root, own = packed.unpack(folder)
    there = find_dataset(root)
    assert (there.category, there.layout) == (here.category, here.layout)
    for one, other in zip((*here.train, *here.test), (*there.train, *there.test), strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
        assert (one.kind, one.part.split("/")[1], one.mask is None) == (
            other.kind, other.part.split("/")[1], other.mask is None
        )  # fmt: skip
        assert packed.as_here(f"{other.path} is bad", folder) == f"{one.path} is bad"
    assert Path(own.backbone).name == "weights.pth" and Path(own.backbone).read_bytes() == b"weights"
    assert own.ignore is not None and own.ignore.read_bytes() == b"mask"


@pytest.mark.parametrize(
    ("nodes", "need"),
    [
        # A small node sets how many cores a task asks for.
        ([{"CPU": 2}, {"CPU": 9}], Need(2, 0, 5)),
        ([{"CPU": 64}], Need(4, 0, 16)),
        # With GPUs, one a task; nodes without any have no room.
        ([{"CPU": 1}, {"CPU": 16, "GPU": 2}], Need(4, 1, 2)),
        ([{"CPU": 4, "GPU": 8}], Need(4, 1, 1)),
    ],
)
def test_what_a_task_asks_for(nodes: list[dict[str, float]], need: Need) -> None:
    assert Need.on({str(index): node for index, node in enumerate(nodes)}) == need
