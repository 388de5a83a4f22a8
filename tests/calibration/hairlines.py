"""Draws large parts with hairline cracks, by hand, to measure what sizes and tiles find of them.

A surface of 500 x 1240 pixels with blotches, grain, tool marks, specks and soft strokes; a crack is 2 or 3 pixels wide,
40 to 120 long, and 8 to 28 levels of gray darker.

    python -m tests.calibration.hairlines hairlines/cracks
    taktline evaluate --all hairlines --size auto
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

HEIGHT, WIDTH = 1240, 500
TRAIN, GOOD, CRACKED = 60, 40, 60
CONTRAST = (8.0, 28.0)

Plane = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


def surface(rng: np.random.Generator) -> Plane:
    """Draws a good part without its sensor's noise, `[HEIGHT, WIDTH]`."""
    image = np.full((HEIGHT, WIDTH), rng.normal(105, 8), np.float32)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    image += 18 * np.cos((x - WIDTH / 2 - rng.normal(0, 15)) / WIDTH * 2.2) + rng.normal(0, 6) * (y / HEIGHT - 0.5)
    for weakest, strongest, across, down in ((4, 9, 60, 60), (3, 5, 9, 9), (2.5, 4, 1.6, 1.6)):
        image += rng.uniform(weakest, strongest) * _smooth_noise(rng, across, down)
    image += 1.5 * _smooth_noise(rng, 1, 30)
    for _ in range(rng.poisson(40)):
        centre_x, centre_y, radius = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(1, 3.5)
        away = (x - centre_x) ** 2 + (y - centre_y) ** 2
        image += rng.normal(0, 25) * np.exp(-(away / (2 * radius * radius)))
    for _ in range(rng.poisson(6)):
        image += _stroke(rng)
    edge = int(rng.normal(18, 3))
    image[:, :edge] -= 30
    image[:, WIDTH - edge :] -= 30
    return cv2.GaussianBlur(image, (0, 0), 0.6).astype(np.float32, copy=False)


def crack(rng: np.random.Generator) -> Pixels:
    """Draws where a crack is, 0 to 255, `[HEIGHT, WIDTH]`."""
    length, angle = rng.uniform(40, 120), rng.uniform(0, math.pi)
    point = np.array([rng.uniform(80, WIDTH - 80), rng.uniform(80, HEIGHT - 80)])
    points = [point]
    for _ in range(int(length / 6)):
        angle += rng.normal(0, 0.25)
        point = point + 6 * np.array([math.cos(angle), math.sin(angle)])
        points.append(point)
    line = np.round(np.clip(np.array(points), [25, 5], [WIDTH - 25, HEIGHT - 5]) * 16).astype(np.int32)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.polylines(mask, [line], False, 255, int(rng.integers(2, 4)), cv2.LINE_AA, 4)
    return mask


def write_hairlines(root: Path, seed: int = 0) -> None:
    """Writes a data set in MVTec AD layout."""
    rng = np.random.default_rng(seed)
    for part in ("train/good", "test/good", "test/crack", "ground_truth/crack"):
        (root / part).mkdir(parents=True)
    for part, count in (("train", TRAIN), ("test", GOOD)):
        for index in range(count):
            _write(root / part / "good" / f"{index:03}.png", _seen(rng, surface(rng)))
    for index in range(CRACKED):
        mask = crack(rng)
        dark = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.6)
        _write(root / "test/crack" / f"{index:03}.png", _seen(rng, surface(rng) - rng.uniform(*CONTRAST) * dark))
        _write(root / "ground_truth/crack" / f"{index:03}_mask.png", np.where(mask > 64, 255, 0).astype(np.uint8))


def _smooth_noise(rng: np.random.Generator, across: float, down: float) -> Plane:
    noise = rng.standard_normal((HEIGHT, WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), sigmaX=across, sigmaY=down)
    return np.asarray(smooth / smooth.std(), np.float32)


def _stroke(rng: np.random.Generator) -> Plane:
    """Draws a short, soft stroke, as good parts have them."""
    x, y = rng.uniform(20, WIDTH - 20), rng.uniform(20, HEIGHT - 20)
    angle, length = rng.uniform(0, math.pi), rng.uniform(10, 40)
    stroke = np.zeros((HEIGHT, WIDTH), np.float32)
    end = int(x + length * math.cos(angle)), int(y + length * math.sin(angle))
    cv2.line(stroke, (int(x), int(y)), end, 1.0, 3, cv2.LINE_AA)
    return np.asarray(rng.normal(0, 14) * cv2.GaussianBlur(stroke, (0, 0), 3), np.float32)


def _seen(rng: np.random.Generator, image: Plane) -> Pixels:
    return np.clip(image + rng.normal(0, 2.5, image.shape), 0, 255).astype(np.uint8)


def _write(path: Path, picture: Pixels) -> None:
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


if __name__ == "__main__":
    write_hairlines(Path(sys.argv[1]))
