"""Data sets are understood as they lie on disk, and refused in words where they cannot be used."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.dataset import open_dataset, open_test_split, read_frames, read_mask
from calibration.parts import DEFECTS, draw_part, write_dataset
from engines.errors import DataError


def test_a_drawn_data_set_has_its_labels_and_masks(drawn: Path) -> None:
    dataset = open_dataset(drawn)
    assert dataset.category == "flange"
    assert len(dataset.train) == 30
    assert [sample.kind for sample in dataset.test].count("good") == 8
    assert {sample.kind for sample in dataset.test} == {"good", *DEFECTS}
    for sample in dataset.test:
        assert sample.defective == (sample.mask is not None)
        assert read_mask(sample, (320, 320)).any() == sample.defective


def test_the_same_seed_draws_the_same_parts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_dataset(tmp_path / name, seed=5, train=1, good=1, defective=1)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.png"))
    assert len(files) == 2 + 2 * len(DEFECTS)
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("kind", list(DEFECTS))
def test_a_defect_changes_the_picture_where_its_mask_says(kind: str) -> None:
    """The light falls on the whole part; but where the mask is, much more changes than elsewhere."""
    for seed in range(3):
        good, nothing = draw_part(np.random.default_rng(seed))
        bad, mask = draw_part(np.random.default_rng(seed), kind)
        assert not nothing.any()
        assert 30 < mask.sum() < 0.1 * mask.size
        change = np.abs(bad.astype(int) - good.astype(int)).mean(axis=2)
        assert change[mask].mean() > 2 * change[~mask].mean()


def test_real_data_is_understood(screw: Path) -> None:
    dataset = open_dataset(screw)
    assert len(dataset.train) == 320
    assert len(dataset.test) == 160
    assert sum(sample.defective for sample in dataset.test) == 119
    assert all(sample.mask for sample in dataset.test if sample.defective)


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="train/good"):
        open_dataset(tmp_path)
    (tmp_path / "train" / "good").mkdir(parents=True)
    for index in range(9):
        cv2.imwrite(str(tmp_path / "train" / "good" / f"{index}.png"), np.zeros((8, 8), np.uint8))
    with pytest.raises(DataError, match="has 9 pictures"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="no test pictures"):
        open_test_split(tmp_path)


def test_pictures_of_mixed_sizes_and_channels_become_frames(tmp_path: Path) -> None:
    good = tmp_path / "train" / "good"
    good.mkdir(parents=True)
    shapes = [(30, 40), (50, 20, 3), (224, 224, 4), (300, 500, 3), (8, 8)] * 2
    for index, shape in enumerate(shapes):
        kind = np.uint16 if index % 2 else np.uint8
        cv2.imwrite(str(good / f"{index}.png"), np.ones(shape, kind))
    frames = list(read_frames(open_dataset(tmp_path).train, (224, 224)))
    assert [frame.shape for frame in frames] == [(224, 224, 3)] * 10
