"""A region alone makes a part defective as rarely on good parts as the score does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from calibration.regions import SIZES, choose_regions, measure_regions, region_level
from calibration.threshold import choose_threshold
from engines.bundle import Bundle
from engines.manifest import RegionLevels
from pipeline.line.regions import find_regions

RNG = np.random.default_rng(0)


def heatmaps(count: int, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Smooth noise, as heatmaps of good parts are."""
    noise = rng.standard_normal((count, 16, 16)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(one, (0, 0), 1.0) for one in noise])
    return np.asarray(smooth / smooth.std(), np.float32)


@pytest.mark.parametrize("cells", SIZES)
def test_a_region_of_that_size_is_there_below_its_level_and_not_above(cells: int) -> None:
    for heatmap in heatmaps(5, RNG):
        level = region_level(heatmap, cells)
        assert find_regions(heatmap, np.nextafter(np.float32(level), -np.inf), (16, 16), cells)
        assert not find_regions(heatmap, level, (16, 16), cells)


def test_the_highest_cell_is_the_smallest_region_and_larger_ones_lie_lower() -> None:
    found = measure_regions(heatmaps(3, RNG))
    assert [row.cells for row in found] == list(SIZES)
    levels = np.array([row.levels for row in found])
    assert (np.diff(levels, axis=0) <= 0).all()


def test_new_good_parts_are_rejected_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    known, fresh = heatmaps(100, rng), heatmaps(2000, rng)
    scores, new = np.sort(rng.standard_normal(100)), rng.standard_normal(2000)
    threshold = choose_threshold("sigma", 2.0, scores.tolist())
    for row in choose_regions(threshold, scores.tolist(), measure_regions(known)):
        by_region = np.array([bool(find_regions(one, row.value, (16, 16), row.cells)) for one in fresh])
        rejected = by_region | (new > 2.0)
        low, high = row.interval_per_1000
        assert low <= 1000 * rejected.mean() <= high
        assert 0.4 < rejected.mean() / (row.false_alarms_per_1000 / 1000) < 2.5
        assert threshold.false_alarms_per_1000 < row.false_alarms_per_1000
        assert 0.001 < by_region.mean() < 0.08


def test_a_region_that_goes_with_the_score_adds_no_false_alarms() -> None:
    scores = np.sort(RNG.standard_normal(200))
    threshold = choose_threshold("false-alarm-rate", 0.02, scores.tolist())
    (row,) = choose_regions(threshold, scores.tolist(), [RegionLevels(cells=1, levels=tuple(2 * scores + 5))])
    assert row.value == pytest.approx(2 * threshold.value + 5, rel=1e-3)
    assert row.false_alarms_per_1000 == pytest.approx(20, rel=0.35)


def test_the_bundle_has_thresholds_for_regions(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert [row.cells for row in manifest.regions] == list(SIZES)
    assert [row.cells for row in manifest.statistics.regions] == list(SIZES)
    assert all(len(row.levels) == manifest.statistics.samples for row in manifest.statistics.regions)
    values = [row.value for row in manifest.regions]
    assert values == sorted(values, reverse=True)
