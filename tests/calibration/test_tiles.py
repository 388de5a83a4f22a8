"""A model with tiles: made from the command line, judged alike by every engine, without seams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file

from calibration import suite
from calibration.autoencoder import TrainingSettings
from calibration.calibrate import CalibrationSettings, calibrate
from calibration.dataset import open_dataset, read_frames
from calibration.suite import Job, Outcome, SuitePlan
from engines.bundle import NETWORK, Bundle, open_bundle
from engines.engine import Frames
from engines.errors import DataError
from engines.image import resize_frame
from engines.network import InspectionNetwork, NetworkConfig
from engines.registry import open_engine
from pipeline.line.regions import find_regions
from tests.conftest import Kept, RunTaktline

SIZE, TILES = (128, 96), (3, 2)

Scored = npt.NDArray[np.float32]


def settings(**more: object) -> CalibrationSettings:
    network = NetworkConfig(size=SIZE, arch="resnet18", hidden=64, code=64, tiles=TILES)
    return CalibrationSettings("untrained", network=network, training=TrainingSettings(steps=40), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tiled(drawn: Path, kept: Kept) -> Bundle:
    return open_bundle(kept("tiled_bundle", lambda out: calibrate(drawn, out, settings(int8=True))))


@pytest.fixture(scope="module")
def frames(drawn: Path) -> Frames:
    return np.stack(list(read_frames(open_dataset(drawn).test, SIZE)))


def scores_of(bundle: Bundle, name: str, precision: str, frames: Frames) -> Scored:
    with open_engine(bundle, name, precision, max_batch=5) as engine:
        return np.concatenate([engine.infer(frames[start : start + 5]).score for start in range(0, len(frames), 5)])


def test_every_engine_gives_the_same_verdicts(tiled: Bundle, frames: Frames) -> None:
    threshold = tiled.manifest.threshold.value
    exact = scores_of(tiled, "torch", "f32", frames)
    assert 0 < (exact > threshold).sum() < len(exact)
    for name, precision in (
        ("onnxruntime", "f32"),
        ("openvino", "f32"),
        ("openvino", "bf16+f32"),
        ("openvino", "int8+f32"),
    ):
        found = scores_of(tiled, name, precision, frames)
        assert ((found > threshold) == (exact > threshold)).all(), (name, precision)
        if precision == "f32":
            np.testing.assert_allclose(found, exact, atol=0.01)


def test_the_heatmap_has_no_seams(tiled: Bundle, frames: Frames) -> None:
    """It is that of the same network without tiles, cell by cell."""
    state = load_file(tiled.file(NETWORK))
    config = NetworkConfig.from_json(tiled.manifest.network)
    whole = InspectionNetwork(replace(config, tiles=(1, 1))).eval()
    whole.load_state_dict({name: value for name, value in state.items() if name != "tile_stats"})
    with torch.inference_mode():
        heatmap = whole(torch.from_numpy(frames[:4]))[1].numpy()
    with open_engine(tiled, "openvino", "f32", max_batch=4) as engine:
        found = engine.infer(frames[:4])
    np.testing.assert_allclose(found.heatmap, heatmap, atol=5e-3)
    assert found.heatmap.shape == (4, SIZE[0] // 8, SIZE[1] // 8)


def test_sigma_units_and_the_spread_of_every_place_come_from_held_out_parts(tiled: Bundle) -> None:
    scores = np.array(tiled.manifest.statistics.scores)
    assert (scores.mean(), scores.std(ddof=1)) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-2))
    stats = load_file(tiled.file(NETWORK))["tile_stats"]
    assert stats.shape == (2, 6)
    assert len(set(stats[0].tolist())) == 6
    assert (stats[1] > 0).all()


def test_a_mark_is_found_where_it_lies_in_the_frame(tiled: Bundle, drawn: Path) -> None:
    """On the seam of tiles, in the camera's own pixels."""
    picture = cv2.imread(str(next(sample.path for sample in open_dataset(drawn).test if not sample.defective)))
    assert picture is not None
    cv2.circle(picture, (160, 106), 14, (255, 0, 255), -1)
    with open_engine(tiled, "onnxruntime", "f32", max_batch=1) as engine:
        found = engine.infer(resize_frame(np.asarray(picture, np.uint8), SIZE)[None])
    assert found.score[0] > tiled.manifest.threshold.value
    regions = find_regions(found.heatmap[0], tiled.manifest.heatmap.threshold, (320, 320), 0)
    hottest = max(regions, key=lambda region: region.peak)
    assert hottest.x <= 160 <= hottest.x + hottest.w
    assert hottest.y <= 106 <= hottest.y + hottest.h


def test_the_frame_is_as_large_as_the_tiles_and_one_that_sees_nothing_is_left_out(
    drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    backbone = ("--backbone", "untrained", "--backbone-arch", "resnet18", "--steps", 1)
    options = (*backbone, "--size", 64, "--tiles", "3x2", "--overlap", 16)
    done = taktline_in_process("calibrate", drawn, "--out", tmp_path / "bundle", *options, "--roi", "0,0,320,190")
    assert done.returncode == 0, done.stderr
    bundle = open_bundle(tmp_path / "bundle")
    assert bundle.size == (3 * 64 - 2 * 16, 2 * 64 - 16)
    config = NetworkConfig.from_json(bundle.manifest.network)
    assert (config.tiles, config.overlap) == ((3, 2), 16)
    assert len(config.cut()) == 4
    assert load_file(bundle.file(NETWORK))["tile_stats"].shape == (2, 4)
    frame = np.stack(list(read_frames(open_dataset(drawn).test[:1], bundle.size)))
    with open_engine(bundle, "openvino", "f32", max_batch=1) as engine:
        before = engine.infer(frame.copy()).score
        frame[:, 96:] = 0
        np.testing.assert_allclose(engine.infer(frame).score, before, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--tiles", "3"], "give ROWSxCOLUMNS"),
        (["--tiles", "0x2"], "give ROWSxCOLUMNS"),
        (["--tiles", "many"], "give ROWSxCOLUMNS, such as 3x2, or auto"),
        (["--tiles", "30x1"], "a side can have 4096"),
        (["--tiles", "2x2", "--overlap", "20"], "give a multiple of 16 up to half a tile, 112"),
        (["--tiles", "2x2", "--overlap", "128"], "give a multiple of 16 up to half a tile, 112"),
        (["--overlap", "32"], "give it with --tiles"),
        (["--size", "auto", "--tiles", "2x2"], "give --tiles auto"),
        (["--takt-ms", "40"], "limits --size auto"),
        (["--size", "auto", "--takt-ms", "0"], "is above 0"),
    ],
)
def test_tiles_that_make_no_sense_are_refused_before_any_work(
    options: list[str], problem: str, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    done = taktline_in_process("calibrate", drawn, "--out", tmp_path / "b", "--backbone", "untrained", *options)
    assert done.returncode == 2
    assert problem in " ".join(done.stderr.split())
    assert not (tmp_path / "b").exists()


def test_evaluating_every_category_takes_the_same_options(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taktline_in_process: RunTaktline
) -> None:
    taken = []

    def run_suite(jobs: Sequence[Job], plan: SuitePlan, *_: object) -> Iterator[Outcome]:
        taken.append(plan.settings)
        raise DataError("this is enough")

    monkeypatch.setattr(suite, "run_suite", run_suite)
    for options in (("--size", "auto", "--takt-ms", 50), ("--tiles", "2x1"), ("--tiles", "auto", "--size", 128)):
        words = ("evaluate", "--all", drawn.parent, "--out", tmp_path, *options)
        assert "this is enough" in taktline_in_process(*words).stderr
    assert [settings.tile for settings in taken] == [(224, 224), None, (128, 128)]
    assert [settings.takt_ms for settings in taken] == [50.0, None, None]
    assert (taken[1].network.size, taken[1].network.tiles) == ((416, 224), (2, 1))
