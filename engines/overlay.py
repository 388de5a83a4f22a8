"""Draws a frame with its heatmap and the outlines of its regions; and both small, for reports."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engines.image import Image, shrink, to_bgr
from engines.manifest import Heatmap

_OUTLINE_BGR = (255, 255, 255)
_TILE_PX, _JPEG_QUALITY = 260, 85


def draw_overlay(image: Image, sigma: npt.NDArray[np.float32], threshold: float, full_scale: float) -> Image:
    """Draws a heatmap over its frame.

    The calibrated scale is the same for every frame and never stretched, so a good part stays plain. Below half the
    threshold, nothing is drawn.

    Args:
        image: uint8 `[H, W, 3]` BGR.
        sigma: heatmap in sigma units, `[h, w]`.
        threshold: sigma value above which a cell belongs to a region; its border is outlined.
        full_scale: sigma value of the hottest colour.

    Returns:
        uint8 `[H, W, 3]` BGR.
    """
    height, width = image.shape[:2]
    fine = np.asarray(cv2.resize(sigma, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    level = np.clip(fine / full_scale, 0.0, 1.0)
    colours = cv2.applyColorMap(np.rint(level * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    start = 0.5 * threshold / full_scale
    opacity = 0.65 * np.clip((level - start) / max(1e-6, 1.0 - start) * 2.5, 0.0, 1.0)[..., None]
    mixed = np.rint(image * (1 - opacity) + colours * opacity).astype(np.uint8)
    outlines, _ = cv2.findContours((fine > threshold).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(min(height, width) / 300))
    return np.asarray(cv2.drawContours(mixed, outlines, -1, _OUTLINE_BGR, thickness, cv2.LINE_AA), np.uint8)


def draw_tiles(image: Image, sigma: npt.NDArray[np.float32], scale: Heatmap) -> tuple[bytes, bytes]:
    """Returns a small picture of a part, and the same with its heatmap, as JPEG.

    Args:
        image: uint8, BGR `[H, W, 3]` or gray `[H, W]`.
        sigma: heatmap in sigma units, `[h, w]`.
        scale: the heatmap's scale.
    """
    small = shrink(to_bgr(image), _TILE_PX)
    return encode_jpeg(small), encode_jpeg(draw_overlay(small, sigma, scale.threshold, scale.full_scale))


def encode_jpeg(image: Image) -> bytes:
    """Returns a picture as JPEG, good enough to look at."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
