"""Cuts out and turns a camera's picture before it is inspected."""

from __future__ import annotations

import cv2
import numpy as np

from engines.errors import DataError
from engines.image import Image

_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class Arrangement:
    """Cuts a region of interest out of each picture of one camera, then turns it.

    Args:
        roi: x, y, width and height in pixels of the camera's picture; None for the whole picture.
        rotate: degrees clockwise: 0, 90, 180 or 270.

    Attributes:
        trouble: why the last picture could not be arranged, or None.
    """

    def __init__(self, roi: tuple[int, int, int, int] | None = None, rotate: int = 0) -> None:
        self._roi, self._rotate = roi, rotate
        self.trouble: str | None = None

    def apply(self, image: Image) -> Image:
        """Returns the arranged picture, contiguous.

        Args:
            image: uint8, BGR `[H, W, 3]` or gray `[H, W]`.

        Raises:
            DataError: the region does not lie inside the picture; the text names both.
        """
        if self._roi is not None:
            image = self._cut(image, *self._roi)
        if self._rotate:
            image = np.asarray(cv2.rotate(image, _ROTATIONS[self._rotate]), np.uint8)
        return np.ascontiguousarray(image)

    def _cut(self, image: Image, x: int, y: int, width: int, height: int) -> Image:
        rows, columns = image.shape[:2]
        if x + width > columns or y + height > rows:
            self.trouble = (
                f"the roi {[x, y, width, height]} (x, y, width, height) does not lie inside its picture of "
                f"{columns} x {rows} pixels; correct the roi in the line file"
            )
            raise DataError(self.trouble)
        self.trouble = None
        return image[y : y + height, x : x + width]
