"""Metrics of how well heatmaps outline defects: pixel AUROC and AUPRO."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

FPR_LIMIT = 0.3

Maps = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]


def pixel_auroc(heatmaps: Maps, masks: Masks) -> float | None:
    """Area under the ROC curve over all pixels, or None if no pixel is marked.

    Args:
        heatmaps: `[N, H, W]`.
        masks: bool `[N, H, W]`.
    """
    if not masks.any() or masks.all():
        return None
    return float(roc_auc_score(masks.ravel(), heatmaps.ravel()))


def aupro(heatmaps: Maps, masks: Masks, limit: float = FPR_LIMIT) -> float | None:
    """Area under the per-region-overlap curve (Bergmann et al. 2021) up to a false-positive rate, scaled to 1.

    Every connected region of the ground truth has the same weight, however small it is.

    Args:
        heatmaps: `[N, H, W]`.
        masks: bool `[N, H, W]`.
        limit: the false-positive rate up to which to integrate.

    Returns:
        None if no pixel is marked.
    """
    overlap_weight, regions = _overlap_weights(masks)
    if not regions:
        return None
    order = np.argsort(heatmaps.ravel())[::-1]
    negative = ~masks.ravel()[order]
    overlap = np.cumsum(overlap_weight.ravel()[order], dtype=np.float64) / regions
    rate = np.cumsum(negative, dtype=np.float64) / max(1, int(negative.sum()))
    # Pixels with equal values pass the threshold together, so only the last of them is a point on the curve.
    values = heatmaps.ravel()[order]
    last = np.append(values[1:] != values[:-1], True)
    rate, overlap = np.append(0.0, rate[last]), np.append(0.0, overlap[last])
    inside = rate <= limit
    at_limit = float(np.interp(limit, rate, overlap))
    rate, overlap = np.append(rate[inside], limit), np.append(overlap[inside], at_limit)
    return float(np.trapezoid(overlap, rate) / limit)


def to_pixels(heatmap: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Resizes a heatmap's grid to pixels `[H, W]` by linear interpolation."""
    return np.asarray(cv2.resize(heatmap, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def _overlap_weights(masks: Masks) -> tuple[npt.NDArray[np.float32], int]:
    weights = np.zeros(masks.shape, np.float32)
    regions = 0
    for index, mask in enumerate(masks):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        sizes = np.bincount(labels.ravel(), minlength=count).astype(np.float32)
        weights[index] = np.where(mask, 1.0 / sizes[labels], 0.0)
        regions += count - 1
    return weights, regions
