"""How high regions of good parts' heatmaps reach, and from where on a region alone makes a part defective."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from calibration.threshold import expected_rate, false_alarm_interval, score_at_rate
from engines.manifest import RegionLevels, RegionThreshold, Threshold

SIZES = (1, 2, 4, 8, 16, 32)
_LEAST_RATE, _MOST_RATE = 1e-4, 0.25

Heatmap = npt.NDArray[np.float32]


def region_level(heatmap: Heatmap, cells: int) -> float:
    """Returns the highest value that all cells of some connected region of so many cells reach.

    A threshold below it leaves a region of that size, a threshold at or above it none.

    Args:
        heatmap: in sigma, `[h, w]`, of at least so many cells.
        cells: size of the region.
    """
    levels = np.unique(heatmap)
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _largest(heatmap >= levels[middle]) >= cells:
            low = middle
        else:
            high = middle - 1
    return float(levels[low])


def measure_regions(heatmaps: Heatmap) -> tuple[RegionLevels, ...]:
    """Measures how high regions of every size reach on good parts.

    Args:
        heatmaps: of held-out good parts in the order of their scores, in sigma, `[n, h, w]`.
    """
    sizes = [cells for cells in SIZES if cells <= heatmaps[0].size // 2]
    return tuple(
        RegionLevels(cells=cells, levels=tuple(region_level(heatmap, cells) for heatmap in heatmaps)) for cells in sizes
    )


def choose_regions(
    threshold: Threshold, scores: Sequence[float], measured: Sequence[RegionLevels]
) -> tuple[RegionThreshold, ...]:
    """Chooses for every size from where on a region alone makes a part defective: as rarely on good parts as the score.

    The false alarms that it states are those of score and region together. They are read from how far each held-out
    part lies above its threshold, or its region above the other, whichever is more.

    Args:
        threshold: the score's.
        scores: of held-out good parts in sigma, ascending.
        measured: of the same parts, in that order.
    """
    rate = min(max(threshold.false_alarms_per_1000 / 1000, _LEAST_RATE), _MOST_RATE)
    chosen = []
    for row in measured:
        levels = np.asarray(row.levels, np.float64)
        value = score_at_rate(np.sort(levels), rate)
        beyond = np.sort(np.maximum(np.asarray(scores, np.float64) - threshold.value, levels - value))
        low, high = false_alarm_interval(beyond, 0.0)
        expected = min(max(expected_rate(beyond, 0.0), low), high)
        chosen.append(
            RegionThreshold(
                cells=row.cells,
                value=value,
                false_alarms_per_1000=round(1000 * expected, 2),
                interval_per_1000=(round(1000 * low, 2), round(1000 * high, 2)),
            )
        )
    return tuple(chosen)


def _largest(above: npt.NDArray[np.bool_]) -> int:
    _, _, stats, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    return int(areas.max()) if len(areas) else 0
