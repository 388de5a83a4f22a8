"""The heatmap's fixed scale, measured on good parts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.manifest import Heatmap

_QUANTILE = 0.999
_LEAST_SIGMA = 3.0


def heatmap_scale(cells: npt.NDArray[np.float32], keep: npt.NDArray[np.bool_] | None = None) -> Heatmap:
    """Calibrates the heatmap's fixed scale on held-out good parts.

    The hottest colour stands for three times the threshold of a region.

    Args:
        cells: heatmaps of held-out good parts in sigma units, `[n, h, w]`.
        keep: which cells are not ignored, `[h, w]`; None for all.
    """
    threshold = region_threshold(cells if keep is None else cells[:, keep])
    return Heatmap(grid=(cells.shape[1], cells.shape[2]), full_scale=3 * threshold, threshold=threshold)


def region_threshold(cells: npt.NDArray[np.floating]) -> float:
    """Returns above which value a cell belongs to a region: above all but one in a thousand cells of good parts."""
    return max(_LEAST_SIGMA, float(np.quantile(cells, _QUANTILE)))


def seen_cells(heatmaps: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """Tells which cells a bundle looks at, bool `[h, w]`: an ignored one has the same value on every part.

    Args:
        heatmaps: of several parts, `[n, h, w]`.
    """
    return np.asarray(np.ptp(heatmaps, axis=0) > 0)
