"""Thresholds, from good parts only."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.bundle import Heatmap, Threshold

DEFAULT_SIGMA = 2.0
_CELL_QUANTILE = 0.999
_MIN_CELL_SIGMA = 3.0


def sigma_threshold(samples: int, sigma: float = DEFAULT_SIGMA) -> Threshold:
    """Returns the threshold at mean + `sigma` standard deviations of held-out good parts."""
    return Threshold(value=sigma, rule="sigma", samples=samples)


def heatmap_scale(cells: npt.NDArray[np.float32]) -> Heatmap:
    """Calibrates the heatmap's fixed scale on held-out good parts.

    A cell belongs to a region where it lies above all but one in a thousand cells of good parts; the hottest colour
    stands for three times that.

    Args:
        cells: heatmaps of held-out good parts in sigma units, `[n, h, w]`.
    """
    threshold = max(_MIN_CELL_SIGMA, float(np.quantile(cells, _CELL_QUANTILE)))
    return Heatmap(grid=(cells.shape[1], cells.shape[2]), full_scale=3 * threshold, threshold=threshold)
