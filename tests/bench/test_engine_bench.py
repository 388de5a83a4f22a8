"""Engines are measured side by side, each in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.load.pictures import as_sent, load_pictures, map_frames, stored_frames
from bench.measure.engine import Choice, choose_engines
from bench.measure.line_suite import LineSettings
from bench.measure.machine import largest_cache, look_at_machine
from bench.peers.peers import bench_peers, check_anomalib
from bench.report.results import read_results
from engines.bundle import Bundle, open_bundle
from engines.errors import ConfigError, TaktlineError
from engines.image import decode_image, read_image
from tests.bench.test_line_bench import check_page, check_whole
from tests.conftest import RunTaktline


@pytest.mark.serial
def test_bench_engine(bundle_path: Path, drawn: Path, tmp_path: Path, taktline: RunTaktline) -> None:
    file, page = tmp_path / "engine.json", tmp_path / "engine.html"
    done = taktline(
        "bench", "engine", "--bundle", bundle_path, "--data", drawn, "--engines", "openvino,onnxruntime",
        "--precisions", "f32", "--batch-sizes", "1,2", "--seconds", 0.1, "--baseline", "onnxruntime cpu f32, batch 2",
        "--json", file, "--report", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = read_results(file)
    check_whole(found, "engine")
    names = [f"{engine} cpu f32, batch {batch}" for engine in ("openvino", "onnxruntime") for batch in (1, 2)]
    assert [run.name for run in found.runs] == names
    for run in found.runs:
        assert run.baseline == "onnxruntime cpu f32, batch 2"
        assert len(run.windows) == (3 if run.steady else 10)
        assert (run.settings["engine"] == "openvino") == bool(run.split_ms)
    assert found.runs[3].ratio == 1.0
    split = found.runs[1].split_ms
    assert split["compute"]["p50"] > 0.5 * found.runs[1].latency_ms["p50"]
    check_page(page, "openvino cpu f32, batch 2", "Throughput against batch size", "avx")


def test_choices_are_what_can_run_here(bundle: Bundle) -> None:
    everything = choose_engines(bundle, (), ())
    assert Choice("torch", "cpu", "f32") in everything
    assert choose_engines(bundle, ("openvino",), ("f32",)) == [Choice("openvino", "cpu", "f32")]
    for choice in everything:
        fast, _, exact = choice.precision.partition("+")
        assert not exact or fast in bundle.manifest.bands
    with pytest.raises(ConfigError):
        choose_engines(bundle, ("tensorrt",), ())


def test_pictures_are_mixed_as_on_a_line(drawn: Path) -> None:
    """All eight good ones of this data set and one of its ten defective ones."""
    names = {read_image(path).tobytes(): path.parent.name for path in (drawn / "test").rglob("*.png")}
    kinds = [names[picture.tobytes()] for picture in load_pictures(drawn)]
    assert kinds.count("good") == 8
    assert len(kinds) == 9
    assert len(load_pictures(None)) == 20


def test_frames_do_not_fit_into_a_cache_and_are_sent_as_asked(drawn: Path) -> None:
    pictures = load_pictures(drawn, most=6)
    assert len(pictures) == 6
    with stored_frames(pictures, (32, 48)) as path:
        frames = map_frames(path)
        assert frames.shape[1:] == (32, 48, 3)
        assert frames.nbytes >= 2 * largest_cache()
        del frames
    assert not path.exists()
    assert {picture.shape for picture in as_sent(pictures, (32, 48), "memory") if not isinstance(picture, bytes)} == {
        (32, 48, 3)
    }
    raw = as_sent(pictures, (32, 48), "raw")
    png = as_sent(pictures, (32, 48), "png")
    for before, encoded in zip(raw, png, strict=True):
        assert isinstance(encoded, bytes)
        assert np.array_equal(decode_image(encoded), before)
    assert all(isinstance(item, bytes) and item.startswith(b"\xff\xd8") for item in as_sent(pictures, (32, 48), "jpeg"))


def test_the_machine_is_described() -> None:
    machine = look_at_machine()
    assert machine.memory_bytes > 2**28
    assert machine.packages["numpy"] == np.__version__
    assert machine.cpu in machine.sentence


def test_a_missing_anomalib_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaktlineError, match=r"has no working anomalib \(.*anomalib.*\); make an environment"):
        check_anomalib(Path(sys.executable))
    with pytest.raises(TaktlineError, match="cannot be run"):
        check_anomalib(tmp_path / "python")


@pytest.mark.long(33)
def test_peers_side_by_side(bundle_path: Path, drawn: Path) -> None:
    settings = LineSettings(open_bundle(bundle_path), drawn, precision="f32", max_batch=2, seconds=0.4, warm_up=0.2)
    found = bench_peers(settings, None, 2, lambda *_: None)
    names = [run.name for run in found.runs]
    assert names[0] == "torch cpu f32, batch 2"
    assert names[-1].startswith("arithmetic limit")
    assert {"openvino cpu f32, batch 2", "the line, pixels in memory", "the line, PNG files in memory"} <= set(names)
    assert all(run.ratio is not None and run.ratio > 0 for run in found.runs)
    assert found.runs[0].ratio == 1.0
    limit, own = found.runs[-1], found.runs[names.index("openvino cpu f32, batch 2")]
    assert own.note == f"{own.images_per_s / limit.images_per_s:.2f} of its arithmetic limit"
    # ResNet-50 up to its third stage, at 64 x 64, and a narrow head.
    assert 5e8 < found.figures["operations_per_image"] < 7e8
