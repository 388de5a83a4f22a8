"""Draws a data set of machined flanges, good and defective, for a demonstration without downloads.

Each part is a height field that is lit and shaded, so that a dent or a missing edge changes the light as it would on
metal. Pose, light, brushing and dirt vary from part to part; everything comes from one seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibration.progress import Reporter, silent
from engines.image import Image

Field = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

SIZE = 320
_OVERSAMPLE = 2
_SIDE = SIZE * _OVERSAMPLE


@dataclass
class Relief:
    """A part on its way to a picture.

    Attributes:
        height: height in pixels, `[side, side]`.
        albedo: share of light that is reflected, `[side, side]`.
        metal: where the part is, bool `[side, side]`.
        defect: where the defect is, bool `[side, side]`.
        centre: x and y of the part's centre in pixels.
        angle: its rotation in radians.
        scale: its size; 1 is nominal.
    """

    height: Field
    albedo: Field
    metal: Mask
    defect: Mask
    centre: tuple[float, float]
    angle: float
    scale: float
    radius: Field = field(repr=False)


def draw_part(rng: np.random.Generator, defect: str | None = None) -> tuple[Image, Mask]:
    """Draws one part.

    Args:
        rng: source of all variation.
        defect: None for a good part, or a name from `DEFECTS`.

    Returns:
        The picture, uint8 `[320, 320, 3]` BGR, and the mask of the defect, bool `[320, 320]`.
    """
    relief = _flange(rng)
    if defect is not None:
        DEFECTS[defect](relief, rng)
    picture = _light(relief, rng)
    mask = cv2.resize(relief.defect.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA) > 0.25
    return picture, np.asarray(mask & (defect is not None))


def write_dataset(root: Path, seed: int, train: int, good: int, defective: int, report: Reporter = silent) -> None:
    """Writes a data set of drawn parts in MVTec AD layout.

    Args:
        root: its folder, which must not exist yet.
        seed: the same seed gives the same pictures.
        train: good parts to calibrate on.
        good: good parts to test.
        defective: defective parts to test, of each kind.
        report: called with the progress.
    """
    rng = np.random.default_rng(seed)
    total, done = train + good + defective * len(DEFECTS), 0
    for split, count in (("train", train), ("test", good)):
        folder = root / split / "good"
        folder.mkdir(parents=True)
        for index in range(count):
            _write(folder / f"{index:03d}.png", draw_part(rng)[0])
            done += 1
            report("drawing", done, total)
    for kind in DEFECTS:
        folder, truth = root / "test" / kind, root / "ground_truth" / kind
        folder.mkdir(parents=True)
        truth.mkdir(parents=True)
        for index in range(defective):
            picture, mask = draw_part(rng, kind)
            _write(folder / f"{index:03d}.png", picture)
            _write(truth / f"{index:03d}_mask.png", mask.astype(np.uint8) * 255)
            done += 1
            report("drawing", done, total)


def _write(path: Path, picture: Image) -> None:
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def _grid() -> tuple[Field, Field]:
    y, x = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32)
    return x, y


def _step(distance: Field, width: float) -> Field:
    """Returns a smooth step from 0 to 1 where the distance, in pixels, passes 0."""
    t = np.clip(distance / width + 0.5, 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def _noise(rng: np.random.Generator, sigma: tuple[float, float]) -> Field:
    raw = rng.standard_normal((_SIDE, _SIDE), np.float32)
    smooth = cv2.GaussianBlur(raw, (0, 0), sigmaX=sigma[0], sigmaY=sigma[1])
    return np.asarray(smooth / (smooth.std() + 1e-6), np.float32)


def _flange(rng: np.random.Generator) -> Relief:
    x, y = _grid()
    centre = (_SIDE / 2 + rng.normal(0, 2.0), _SIDE / 2 + rng.normal(0, 2.0))
    angle, scale = rng.normal(0, 0.015), 1 + rng.normal(0, 0.004)
    dx, dy = (x - centre[0]) / scale, (y - centre[1]) / scale
    radius = np.hypot(dx, dy).astype(np.float32)
    disc, bore = _step(258 - radius, 14), _step(radius - 84, 10)
    hub = _step(150 - radius, 18)
    groove = 1 - np.exp(-(((radius - 176) / 5) ** 2))
    height = 26 * disc * bore + 20 * hub * bore - 5 * (1 - groove) * disc
    metal = (radius < 256) & (radius > 84)
    for hole in range(6):
        turn = angle + hole * math.pi / 3
        away = np.hypot(dx - 214 * math.cos(turn), dy - 214 * math.sin(turn)).astype(np.float32)
        height *= _step(away - 24, 8)
        metal &= away > 24
    theta = np.arctan2(dy, dx)
    streaks = cv2.remap(
        _noise(rng, (9.0, 0.8)),
        ((theta + math.pi) * 100 % _SIDE).astype(np.float32),
        radius,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    height = height + 0.10 * streaks * metal
    belt = 0.16 + 0.012 * _noise(rng, (1.2, 1.2)) + 0.010 * _noise(rng, (14, 14))
    steel = 0.62 + 0.018 * _noise(rng, (30, 30)) + 0.012 * streaks
    albedo = np.where(metal, steel, belt).astype(np.float32)
    clean = np.zeros((_SIDE, _SIDE), np.bool_)
    return Relief(height.astype(np.float32), albedo, metal, clean, centre, angle, scale, radius)


def _light(relief: Relief, rng: np.random.Generator) -> Image:
    azimuth, elevation = -2.2 + rng.normal(0, 0.08), 0.85 + rng.normal(0, 0.03)
    light = np.array(
        [math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)]
    )
    smooth = cv2.GaussianBlur(relief.height, (0, 0), 1.2)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125)
    norm = np.sqrt(gx * gx + gy * gy + 1)
    diffuse = np.clip((-gx * light[0] - gy * light[1] + light[2]) / norm, 0, 1)
    half = light + np.array([0, 0, 1.0])
    half /= np.linalg.norm(half)
    gleam = np.clip((-gx * half[0] - gy * half[1] + half[2]) / norm, 0, 1) ** 60
    shift = np.array([[1, 0, -light[0] * 26], [0, 1, -light[1] * 26]], np.float32)
    cast = cv2.warpAffine(relief.metal.astype(np.float32), shift, (_SIDE, _SIDE))
    shadow = 1 - 0.55 * cv2.GaussianBlur(cast, (0, 0), 7) * ~relief.metal
    x, y = _grid()
    fall = 1 - 0.12 * (np.hypot(x - _SIDE * 0.4, y - _SIDE * 0.35) / _SIDE)
    gain = 1 + rng.normal(0, 0.015)
    shade = (relief.albedo * (0.28 + 0.78 * diffuse) * shadow + 0.30 * gleam * relief.metal) * fall * gain
    tint = np.array([1.03, 1.0, 0.97]) + rng.normal(0, 0.004, 3)
    small = cv2.resize(shade.astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., None] * tint
    small = small + rng.normal(0, 0.008, small.shape)
    return np.asarray(np.rint(np.clip(small, 0, 1) * 255), np.uint8)


def _at(relief: Relief, radius: float, turn: float) -> tuple[float, float]:
    return (
        relief.centre[0] + relief.scale * radius * math.cos(turn),
        relief.centre[1] + relief.scale * radius * math.sin(turn),
    )


def _blob(rng: np.random.Generator, at: tuple[float, float], size: float) -> Field:
    x, y = _grid()
    turn, stretch = rng.uniform(0, math.pi), rng.uniform(1.0, 1.7)
    u = (x - at[0]) * math.cos(turn) + (y - at[1]) * math.sin(turn)
    v = -(x - at[0]) * math.sin(turn) + (y - at[1]) * math.cos(turn)
    away = np.hypot(u / stretch, v) + size * 0.12 * _noise(rng, (8, 8))
    return np.asarray(np.exp(-((away / size) ** 2)), np.float32)


def _scratch(relief: Relief, rng: np.random.Generator) -> None:
    start = _at(relief, rng.uniform(100, 235), rng.uniform(0, 2 * math.pi))
    heading, bend = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.02)
    points = [start]
    for _ in range(int(rng.integers(9, 15))):
        heading += bend
        points.append((points[-1][0] + 12 * math.cos(heading), points[-1][1] + 12 * math.sin(heading)))
    line = np.zeros((_SIDE, _SIDE), np.uint8)
    path = np.array(points, np.float32).round().astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(line, [path], False, 255, int(rng.integers(4, 7)), cv2.LINE_AA)
    cut = line.astype(np.float32) / 255 * relief.metal
    relief.height -= 5.0 * cut
    relief.albedo *= 1 + 0.35 * cut
    relief.defect |= cv2.dilate(line, np.ones((5, 5), np.uint8)).astype(np.bool_) & relief.metal


def _dent(relief: Relief, rng: np.random.Generator) -> None:
    blob = (
        _blob(rng, _at(relief, rng.uniform(110, 240), rng.uniform(0, 2 * math.pi)), rng.uniform(17, 25)) * relief.metal
    )
    relief.height -= 26 * blob
    relief.defect |= blob > 0.3


def _stain(relief: Relief, rng: np.random.Generator) -> None:
    blob = (
        _blob(rng, _at(relief, rng.uniform(110, 180), rng.uniform(0, 2 * math.pi)), rng.uniform(24, 36)) * relief.metal
    )
    relief.albedo *= 1 - 0.6 * blob
    relief.defect |= blob > 0.3


def _chip(relief: Relief, rng: np.random.Generator) -> None:
    bite = _blob(rng, _at(relief, 262, rng.uniform(0, 2 * math.pi)), rng.uniform(26, 38))
    gone = (bite > 0.5) & (relief.radius < 264)
    relief.defect |= gone
    relief.height *= np.where(gone, 0.0, 1.0).astype(np.float32)
    relief.albedo[gone] = 0.15
    relief.metal &= ~gone


def _swarf(relief: Relief, rng: np.random.Generator) -> None:
    """Adds a curl of metal that lies on the part."""
    start = _at(relief, rng.uniform(110, 225), rng.uniform(0, 2 * math.pi))
    turns, pitch, heading = rng.uniform(1.6, 2.6), rng.uniform(7, 11), rng.uniform(0, 2 * math.pi)
    t = np.linspace(0, turns * 2 * math.pi, 120)
    along = pitch * t * 0.8
    points = np.stack(
        [
            start[0] + along * math.cos(heading) + (11 + t) * np.cos(t),
            start[1] + along * math.sin(heading) + (11 + t) * np.sin(t),
        ],
        1,
    ).astype(np.float32)
    curl = np.zeros((_SIDE, _SIDE), np.uint8)
    cv2.polylines(curl, [points.round().astype(np.int32).reshape(-1, 1, 2)], False, 255, 5, cv2.LINE_AA)
    body = curl.astype(np.float32) / 255
    shadow = cv2.GaussianBlur(np.roll(body, (6, 5), (0, 1)), (0, 0), 3)
    relief.albedo *= 1 - 0.5 * shadow * (1 - body)
    relief.albedo = np.maximum(relief.albedo, 0.85 * body).astype(np.float32)
    relief.height += 9 * body
    relief.metal |= body > 0.5
    relief.defect |= cv2.dilate(curl, np.ones((7, 7), np.uint8)) > 60


DEFECTS: dict[str, Callable[[Relief, np.random.Generator], None]] = {
    "chip": _chip,
    "dent": _dent,
    "scratch": _scratch,
    "stain": _stain,
    "swarf": _swarf,
}
