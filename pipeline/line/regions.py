"""Finds the regions of a heatmap that seem to show a defect."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.flow.decided import SigmaMap
from pipeline.protocol.verdict import Region


def find_regions(
    sigma: SigmaMap, threshold: float, frame: tuple[int, int], min_region_px: int = 0
) -> tuple[Region, ...]:
    """Finds the connected areas of a heatmap above a threshold.

    Args:
        sigma: heatmap in sigma units, `[h, w]`.
        threshold: in sigma.
        frame: height and width of the frame in pixels.
        min_region_px: areas that cover fewer pixels of the frame are omitted.

    Returns:
        The regions in pixels of the frame, highest peak first.
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats((sigma > threshold).astype(np.uint8), connectivity=8)
    down, across = frame[0] / sigma.shape[0], frame[1] / sigma.shape[1]
    regions = []
    for index in range(1, count):
        left, top, width, height, area = (int(value) for value in stats[index])
        if area * down * across < min_region_px:
            continue
        x, y = int(left * across), int(top * down)
        right, bottom = round((left + width) * across), round((top + height) * down)
        peak = float(sigma[labels == index].max())
        regions.append(Region(x, y, max(1, right - x), max(1, bottom - y), peak))
    return tuple(sorted(regions, key=lambda region: -region.peak))
