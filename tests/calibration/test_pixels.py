"""Pixel figures agree with their definitions, computed the slow way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from calibration.pixels import aupro, pixel_auroc, to_pixels


def brute_force_aupro(heatmaps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """The definition: at every threshold, the mean over regions of the share of each that is above it."""
    regions = []
    for index, mask in enumerate(masks):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [heatmaps[index][labels == label] for label in range(1, count)]
    points = [(0.0, 0.0)]
    for threshold in sorted(np.unique(heatmaps), reverse=True):
        rate = float((heatmaps[~masks] >= threshold).mean())
        points.append((rate, float(np.mean([(region >= threshold).mean() for region in regions]))))
    rates, overlaps = map(np.array, zip(*points, strict=True))
    fine = np.linspace(0, limit, 20_001)
    return float(np.trapezoid(np.interp(fine, rates, overlaps), fine) / limit)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [7, 100_000])
def test_aupro_is_its_definition(seed: int, levels: int) -> None:
    """With many equal values too."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((5, 24, 24), np.bool_)
    masks[0, 2:9, 3:7] = masks[0, 15:17, 15:23] = masks[2, 5:6, 5:6] = masks[3, 10:20, 10:20] = True
    heatmaps = np.round((rng.random(masks.shape) + 0.5 * masks) * levels).astype(np.float32)
    assert aupro(heatmaps, masks, 0.3) == pytest.approx(brute_force_aupro(heatmaps, masks, 0.3), abs=2e-3)


def test_a_perfect_heatmap_and_an_empty_mask() -> None:
    masks = np.zeros((2, 8, 8), np.bool_)
    assert aupro(np.zeros(masks.shape, np.float32), masks) is None
    assert pixel_auroc(np.zeros(masks.shape, np.float32), masks) is None
    masks[0, 2:4, 2:4] = True
    assert aupro(masks.astype(np.float32), masks) == pytest.approx(1.0)
    assert pixel_auroc(masks.astype(np.float32), masks) == 1.0


def test_pixels_keep_their_place() -> None:
    grid = np.zeros((28, 28), np.float32)
    grid[7, 20] = 1.0
    fine = to_pixels(grid, (224, 224))
    assert np.unravel_index(int(fine.argmax()), fine.shape)[0] // 8 == 7
    assert np.unravel_index(int(fine.argmax()), fine.shape)[1] // 8 == 20
