"""How a line's pictures change over the months, made by computer: each change from nothing (0) to all of it (1)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from engines.image import Image, multiply

Change = Callable[[Image, float], Image]


def lit(blue: float, green: float, red: float) -> Change:
    return lambda image, part: multiply(image, (1 + part * blue, 1 + part * green, 1 + part * red))


def moved(share: float, degrees: float) -> Change:
    """A part that lies further right by a share of the width, and turned counterclockwise."""

    def move(image: Image, part: float) -> Image:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), part * degrees, 1)
        matrix[0, 2] += part * share * width
        return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)

    return move


def defocused(image: Image, part: float) -> Image:
    sigma = 0.002 * part * image.shape[1]
    return image if sigma < 0.05 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def dusty(image: Image, part: float) -> Image:
    """Thirty specks on the window in front of the lens, each always in its place."""
    height, width = image.shape[:2]
    rng, specks = np.random.default_rng(3), np.zeros((height, width), np.float32)
    for _ in range(30):
        x, y = rng.integers(0, width), rng.integers(0, height)
        cv2.circle(specks, (int(x), int(y)), max(1, round(rng.uniform(0.003, 0.008) * width)), 1.0, -1)
    specks = np.asarray(cv2.GaussianBlur(specks, (0, 0), 0.002 * width), np.float32)
    return np.rint(image * (1 - 0.6 * part * specks[..., None])).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "darker": lit(-0.2, -0.2, -0.2),
    "brighter": lit(0.2, 0.2, 0.2),
    "warmer": lit(-0.12, 0.0, 0.12),
    "defocused": defocused,
    "shifted": moved(0.03, 0.0),
    "rotated": moved(0.0, -2.0),
    "dusty": dusty,
}
