"""Finds the regions of a heatmap that seem to show a defect, and says when one alone makes a part defective."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engines.bundle import Bundle
from engines.errors import ConfigError
from pipeline.config.sections import DecisionSection
from pipeline.flow.decided import SigmaMap
from pipeline.protocol.verdict import Region


@dataclass(frozen=True)
class RegionRule:
    """When a region alone makes a part defective: it covers enough pixels, all of them above a threshold.

    Attributes:
        thresholds: cells of the heatmap and, for regions of that size or more, the threshold in sigma; by size.
        min_region_px: smaller regions do not count, in pixels of the frame.
    """

    thresholds: tuple[tuple[int, float], ...]
    min_region_px: int

    @classmethod
    def read(cls, bundle: Bundle, settings: DecisionSection) -> RegionRule | None:
        """Reads the rule from a line's settings and a bundle; None where the score alone decides.

        Raises:
            ConfigError: the bundle was calibrated without regions.
        """
        if settings.rule == "score":
            return None
        if settings.region_sigma is not None:
            return cls(((1, settings.region_sigma),), settings.min_region_px)
        rows = bundle.manifest.regions
        if not rows:
            raise ConfigError(
                f'the bundle {bundle.path} has no thresholds for regions, which rule = "score-or-region" needs; choose '
                "region_sigma under [decision], or calibrate the bundle again"
            )
        return cls(tuple((row.cells, row.value) for row in rows), settings.min_region_px)

    def find(self, sigma: SigmaMap, frame: tuple[int, int]) -> tuple[Region, ...]:
        """Finds the regions that make a part defective; see `find_regions`."""
        return find_regions(sigma, self.threshold(sigma, frame), frame, self.min_region_px)

    def threshold(self, sigma: SigmaMap, frame: tuple[int, int]) -> float:
        """Returns the threshold, in sigma, of regions as small as `min_region_px`.

        Of the sizes that were calibrated it is the next smaller one's, which is the higher threshold.
        """
        # Regions are whole cells: one that covers more than n - 1 of them has n.
        least = -(-self.min_region_px * sigma.size // (frame[0] * frame[1]))
        return next((value for cells, value in reversed(self.thresholds) if cells <= least), self.thresholds[0][1])


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
