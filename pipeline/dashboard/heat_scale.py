"""The colours of a heatmap: one fixed scale for every part, which colour-blind people can read too."""

from __future__ import annotations

import base64
from functools import cache

import cv2
import numpy as np

# As on the overlays that the command line writes: nothing is drawn in the lowest sixth of the scale.
_PLAIN = 1 / 6


@cache
def heat_scale() -> str:
    """Returns 256 colours with their opacity, as base64 of RGBA bytes."""
    level = np.arange(256, dtype=np.uint8)[:, None]
    colours = cv2.applyColorMap(level, cv2.COLORMAP_PLASMA)[:, 0, ::-1]
    opacity = np.clip((level[:, 0] / 255 - _PLAIN) / (1 - _PLAIN) * 2.5, 0, 1) * 255
    return base64.b64encode(np.column_stack([colours, np.rint(opacity)]).astype(np.uint8).tobytes()).decode()
