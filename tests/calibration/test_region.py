"""What is ignored in calibration cannot alarm, on any engine; what lies beside it can."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from calibration.adapt import adapt, find_good_parts
from calibration.autoencoder import TrainingSettings
from calibration.calibrate import CalibrationSettings, calibrate
from calibration.dataset import open_dataset
from calibration.drift import PRIOR_PARTS
from calibration.heat_scale import seen_cells
from calibration.region import read_region, visible_cells
from engines.bundle import Bundle, open_bundle
from engines.engine import Frames, Scores
from engines.errors import TaktlineError
from engines.image import Image, read_image, resize_frame
from engines.network import InspectionNetwork, NetworkConfig
from engines.registry import open_engine
from tests.conftest import Kept, RunTaktline

SIDE, SMALL = 320, (64, 64)
# The drawn parts have 320 x 320 pixels; a corner of them is ignored, and a strip on the right.
IGNORED = (slice(0, 100), slice(0, 130))
ROI = (0, 0, 280, SIDE)
ENGINES = [("torch", "f32"), ("onnxruntime", "f32"), ("openvino", "f32"), ("openvino", "bf16"), ("openvino", "int8")]


def settings(**more: object) -> CalibrationSettings:
    network = NetworkConfig(size=SMALL, arch="resnet18", hidden=64, code=64)
    return CalibrationSettings("untrained", network=network, training=TrainingSettings(steps=40), **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mask at half of the pictures' size."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[IGNORED] = 255
    path = tmp_path_factory.mktemp("masks") / "clamp.png"
    cv2.imwrite(str(path), image[::2, ::2])
    return path


@pytest.fixture(scope="module")
def masked(drawn: Path, mask: Path, kept: Kept) -> Bundle:
    """A bundle that ignores a corner and what lies outside of a region of interest, with an 8-bit model."""
    more = settings(ignore=mask, roi=ROI, int8=True)
    return open_bundle(kept("masked_bundle", lambda out: calibrate(drawn, out, more)))


@pytest.fixture(scope="module")
def good(drawn: Path) -> list[Image]:
    return [read_image(sample.path) for sample in open_dataset(drawn).test if not sample.defective]


def with_blot(pictures: list[Image], rows: slice, columns: slice) -> list[Image]:
    """Something that is on no good part, in black and white."""
    blotted = [picture.copy() for picture in pictures]
    for picture in blotted:
        picture[rows, columns] = 255
        picture[rows, columns][::8] = 0
    return blotted


def frames(pictures: list[Image]) -> Frames:
    return np.stack([resize_frame(picture, SMALL) for picture in pictures])


def run(bundle: Bundle, name: str, precision: str, pictures: list[Image]) -> Scores:
    with open_engine(bundle, name, precision, max_batch=10, measure=False) as engine:
        return engine.infer(frames(pictures))


@pytest.mark.parametrize(("name", "precision"), ENGINES)
def test_a_defect_where_nothing_is_inspected_changes_nothing_and_beside_it_alarms(
    masked: Bundle, good: list[Image], name: str, precision: str
) -> None:
    before = run(masked, name, precision, good)
    outside = with_blot(good, slice(0, SIDE), slice(ROI[2], SIDE))
    hidden = run(masked, name, precision, with_blot(outside, *IGNORED))
    assert hidden.score.tolist() == before.score.tolist()
    assert (hidden.heatmap == before.heatmap).all()
    assert (hidden.heatmap[:, :2, :3] == 0).all() and (hidden.heatmap[..., 7] == 0).all()
    beside = run(masked, name, precision, with_blot(good, slice(110, 200), slice(140, 240)))
    assert (beside.score > masked.manifest.threshold.value).all()
    assert (beside.score > before.score + 3).all()
    assert (beside.heatmap.reshape(len(good), -1).argmax(1) // 8 >= 2).all()


def test_all_engines_give_the_same_scores(masked: Bundle, good: list[Image]) -> None:
    pictures = [*good, *with_blot(good[:2], slice(110, 150), slice(140, 180))]
    reference = run(masked, "torch", "f32", pictures).score
    for name, precision in ENGINES[1:]:
        found = run(masked, name, precision, pictures).score
        if precision == "f32":
            np.testing.assert_allclose(found, reference, atol=2e-3, rtol=1e-4, err_msg=name)
        # So far from good parts a lower precision is right only in that it is far.
        assert np.abs(found - reference)[: len(good)].max() < 0.6, precision
        assert (found[len(good) :] > masked.manifest.threshold.value + 3).all(), precision


def test_without_the_mask_the_same_defect_alarms(small_bundle_path: Path, good: list[Image]) -> None:
    bundle = open_bundle(small_bundle_path)
    found = run(bundle, "openvino", "f32", with_blot(good, *IGNORED))
    assert (found.score > bundle.manifest.threshold.value).all()


def test_adapting_measures_only_the_cells_that_are_looked_at(masked: Bundle, drawn: Path, tmp_path: Path) -> None:
    parts = find_good_parts(drawn)
    adapted = adapt(masked, parts, tmp_path / "adapted").manifest.adapted
    assert adapted is not None and adapted.gains is None and not adapted.left_out
    pictures = [read_image(part.path) for part in parts]
    with open_engine(masked, "openvino", "f32", max_batch=len(parts), measure=False) as engine:
        heat = engine.infer(frames(pictures)).heatmap
    assert (heat[:, :2, :3] == 0).all()
    seen = seen_cells(heat)
    assert not seen[:2, :3].any() and not seen[:, 7].any() and seen[4:, 4:7].all()
    weight = len(parts) - 1
    variance = (PRIOR_PARTS + weight * heat[:, seen].var()) / (PRIOR_PARTS + weight)
    assert adapted.heatmap.std == pytest.approx(np.sqrt(variance), rel=0.01)


def test_the_bundle_says_what_it_ignores(masked: Bundle) -> None:
    area = masked.manifest.ignored
    assert area is not None
    assert (area.mask, area.roi) == ("clamp.png", ROI)
    assert area.share == pytest.approx((100 * 130 + 40 * SIDE) / SIDE**2, abs=0.02)
    shown = read_image(masked.file("ignored.png"))
    assert shown.shape[:2] == SMALL
    assert (shown[:20, :26] == 255).all()
    assert (shown[:, 56:] == 255).all()
    assert (shown[21:, :56] == 0).all()
    # Sigma units are those of the cells that count.
    scores = np.array(masked.manifest.statistics.scores)
    assert (scores.mean(), scores.std(ddof=1)) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-2))


def test_the_score_takes_only_cells_that_count() -> None:
    network = InspectionNetwork(NetworkConfig(size=SMALL, ring=1, top_share=0.25, inspected=12))
    assert network.keep is not None
    network.keep.zero_()
    network.keep[1:4, 1:5] = 1.0
    cells = torch.full((1, 8, 8), 50.0)
    cells[0, 1:4, 1:5] = torch.arange(12.0).reshape(3, 4)
    assert network.raw_score(cells).tolist() == [10.0]


def test_a_pixel_is_ignored_if_any_part_of_it_is(drawn: Path) -> None:
    picture = open_dataset(drawn).train[0].path
    region = read_region(None, (1, 0, 318, 320), picture, SMALL, 1)
    assert region is not None
    assert not region.visible[:, 0].any()
    assert region.visible[:, 1:63].all()
    assert not region.visible[:, 63].any()
    assert visible_cells(region.visible).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--roi", "10,10,400,20"], "does not lie in the 320 x 320 pixels"),
        (["--roi", "10,10,0,20"], "does not lie in"),
        (["--roi", "10,10,20"], "give x,y,width,height"),
        (["--roi", "-1,0,20,20"], "give x,y,width,height"),
        (["--roi", "0,0,20,20"], "to inspect"),
        (["--ignore", "{tmp}/wide.png"], "give a mask of that size"),
        (["--ignore", "{tmp}/black.png"], "ignores nothing"),
        (["--ignore", "{tmp}/white.png"], "leave 0 cells"),
        (["--ignore", "{tmp}/none.png"], "none.png"),
    ],
)
def test_a_mask_that_makes_no_sense_is_refused_before_any_work(
    options: list[str], message: str, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    for name, shape, value in (("wide", (320, 640), 255), ("black", (320, 320), 0), ("white", (160, 160), 255)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full(shape, value, np.uint8))
    words = [option.format(tmp=tmp_path) for option in options]
    done = taktline_in_process("calibrate", drawn, "--out", tmp_path / "b", "--backbone", "untrained", *words)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "b").exists()


def test_a_mask_that_is_no_picture_is_named(tmp_path: Path, drawn: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(TaktlineError, match=r"text\.png"):
        read_region(tmp_path / "text.png", None, open_dataset(drawn).train[0].path, SMALL, 1)
