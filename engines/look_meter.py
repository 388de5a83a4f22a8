"""Measures what a picture looks like: brightness, contrast, sharpness, colour, and where the part lies in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.bundle import IGNORED, Bundle
from engines.image import Image, read_image
from engines.looks import GOOD_PICTURE, QUANTITIES, TEMPLATE, Looks, Quantity, Trait

# A larger network's frames are halved until they are this small: the cost of a picture has a limit.
_MOST_SIDE = 320
_TEMPLATE_SIDE = 80
_LEAST_LEVEL = 0.5
_SOFT = (5, 5)
_MOST_SHIFT = 0.25
# Less than this is nothing that anybody would want to hear of, however alike good parts are.
_LEAST_SPREADS: dict[Quantity, float] = {
    "brightness": 0.01, "contrast": 0.015, "sharpness": 0.04, "red": 0.006, "blue": 0.006, "x": 0.003, "y": 0.003,
    "rotation": 0.25,
}  # fmt: skip
# Parts that lie anyhow: their place says nothing.
_MOST_SPREADS: dict[Quantity, float] = {"x": 0.02, "y": 0.02, "rotation": 2.0}
_OUTLIER, _MAD_TO_STD = 3.5, 1.4826

Values = npt.NDArray[np.float64]
_Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """What good parts look like, with the pictures that show it.

    Attributes:
        looks: for the manifest.
        template: mean of good parts, grey and small; what positions are measured against.
        picture: one good part.
    """

    looks: Looks
    template: Image
    picture: Image


class LookMeter:
    """Measures pictures at the network's input. It holds no state, so any thread may use it.

    Args:
        template: mean of good parts, grey `[h, w]`; None to leave out the place of the part.
        visible: which pixels of the network's input count, bool `[H, W]`; None for all.
    """

    def __init__(self, template: Image | None, visible: npt.NDArray[np.bool_] | None = None) -> None:
        self._mask = self._inner = None
        if visible is not None:
            height, width = _shrunk((visible.shape[0], visible.shape[1]))
            mask = cv2.resize(visible.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
            self._mask = np.asarray(mask, np.uint8)
            # A neighbour that is ignored is part of the Laplacian.
            self._inner = np.asarray(cv2.erode(mask, np.ones((3, 3), np.uint8)), np.uint8)
        self._place = None if template is None else _Place(template, self._mask)

    def measure(self, frame: Image) -> Values:
        """Returns the quantities in the order of `QUANTITIES`; those of the place are NaN without a template.

        Args:
            frame: uint8 BGR `[H, W, 3]`.
        """
        frame = shrink(frame)
        blue, green, red = (math.log(max(level, _LEAST_LEVEL)) for level in cv2.mean(frame, self._mask)[:3])
        grey = _grey(frame)
        mean, spread = _mean_and_spread(grey, self._mask)
        edges = self._edges(grey)
        level, contrast = math.log(max(mean, _LEAST_LEVEL)), math.log(max(spread, _LEAST_LEVEL))
        place = (math.nan,) * 3 if self._place is None else self._place.measure(grey)
        sharpness = 2 * (math.log(max(edges, _LEAST_LEVEL)) - contrast)
        return np.array([level, contrast - level, sharpness, red - green, blue - green, *place])

    def _edges(self, grey: Image) -> float:
        """Returns the standard deviation of the Laplacian, whose mean is next to nothing."""
        laplacian = cv2.Laplacian(grey, cv2.CV_16S)
        if self._inner is None:
            return cv2.norm(laplacian, cv2.NORM_L2) / math.sqrt(laplacian.size)
        return cv2.norm(laplacian, cv2.NORM_L2, self._inner) / math.sqrt(max(1, cv2.countNonZero(self._inner)))

    def align(self, frame: Image, steps: int = 6) -> tuple[float, float, float]:
        """Returns shift and rotation as `measure` does, for larger ones: it looks again and again."""
        assert self._place is not None
        return self._place.measure(_grey(shrink(frame)), steps)


def open_meter(bundle: Bundle) -> LookMeter | None:
    """Returns what measures pictures against a bundle's good parts; None if it does not know what they look like.

    Raises:
        BundleError: a file is missing.
        DataError: a file cannot be read.
    """
    if bundle.manifest.looks is None:
        return None
    return LookMeter(_grey(read_image(bundle.file(TEMPLATE))), visible_of(bundle))


def visible_of(bundle: Bundle) -> npt.NDArray[np.bool_] | None:
    """Returns which pixels of the network's input a bundle inspects, bool `[H, W]`; None for all."""
    if IGNORED not in bundle.manifest.files:
        return None
    return np.asarray(read_image(bundle.file(IGNORED))[..., 0] == 0)


def measure_looks(frames: Sequence[Image], visible: npt.NDArray[np.bool_] | None) -> Reference:
    """Measures what good parts look like.

    Args:
        frames: at the network's input, uint8 BGR `[H, W, 3]`; two or more.
        visible: which pixels count, bool `[H, W]`; None for all.
    """
    template = _make_template(frames)
    meter = LookMeter(template, visible)
    values = np.stack([meter.measure(frame) for frame in frames])
    traits = {name: _trait(name, column) for name, column in zip(QUANTITIES, values.T, strict=True)}
    known = {name: trait for name, trait in traits.items() if trait.spread <= _MOST_SPREADS.get(name, math.inf)}
    if not {"x", "y", "rotation"} <= known.keys():
        known = {name: trait for name, trait in known.items() if name not in _MOST_SPREADS}
    odd = sum(((column - known[name].mean) / known[name].spread) ** 2
              for name, column in zip(QUANTITIES, values.T, strict=True) if name in known)  # fmt: skip
    picture = frames[int(np.argmin(odd))]
    return Reference(Looks(traits=known, samples=len(frames)), template, shrink(picture))


def reference_files(reference: Reference) -> dict[str, bytes]:
    """Returns the files that a bundle keeps of its good parts, by name."""
    pictures = {TEMPLATE: reference.template, GOOD_PICTURE: reference.picture}
    return {name: cv2.imencode(".png", picture)[1].tobytes() for name, picture in pictures.items()}


def shrink(frame: Image) -> Image:
    """Returns a frame with a limited number of pixels; one that is small enough as it is."""
    # Averaging four pixels to one takes a twentieth of the time of any other factor.
    while max(frame.shape[:2]) > _MOST_SIDE:
        height, width = _half((frame.shape[0], frame.shape[1]))
        frame = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    return frame


def _shrunk(size: tuple[int, int]) -> tuple[int, int]:
    while max(size) > _MOST_SIDE:
        size = _half(size)
    return size


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return max(1, size[0] // 2), max(1, size[1] // 2)


def _grey(frame: Image) -> Image:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8)


def _trait(name: Quantity, values: Values) -> Trait:
    middle = float(np.median(values))
    least = _LEAST_SPREADS[name]
    usual = max(least, _MAD_TO_STD * float(np.median(np.abs(values - middle))))
    # A few parts that look odd widen the spread a little and no more.
    tame = np.clip(values, middle - _OUTLIER * usual, middle + _OUTLIER * usual)
    return Trait(mean=float(tame.mean()), spread=max(usual, float(tame.std(ddof=1)), least))


def _mean_and_spread(plane: npt.NDArray[Any], mask: Any) -> tuple[float, float]:
    mean, spread = cv2.meanStdDev(plane, mask=mask)
    return float(mean[0, 0]), float(spread[0, 0])


def _make_template(frames: Sequence[Image]) -> Image:
    height, width = shrink(frames[0]).shape[:2]
    # The network's sizes are multiples of 16, and averaging whole pixels takes a tenth of the time.
    factor = 1
    while max(height, width) > factor * _TEMPLATE_SIDE:
        factor *= 2
    size = (max(8, width // factor), max(8, height // factor))
    total = sum(cv2.resize(_grey(frame), size, interpolation=cv2.INTER_AREA).astype(np.float64) for frame in frames)
    return np.rint(total / len(frames)).astype(np.uint8)


class _Place:
    """Finds how a picture is shifted and rotated against a template.

    Phase correlation finds the shift. A linear fit finds what remains of it, and the rotation: the shifted picture is
    told as the template, a constant, and the template's derivatives by both shifts and by the angle (Lucas and Kanade).
    So more or less light counts for nothing, and neither do pixels that are ignored.
    """

    def __init__(self, template: Image, mask: Image | None) -> None:
        self._height, self._width = template.shape
        self._size = (self._width, self._height)
        self._window = cv2.createHanningWindow(self._size, cv2.CV_32F)
        self._seen: _Plane | None = None
        if mask is not None:
            seen = cv2.resize(mask.astype(np.float32), self._size, interpolation=cv2.INTER_AREA)
            self._seen = np.asarray(seen, np.float32)
        self._template = self._prepare(template.astype(np.float32))
        down, right = np.gradient(self._template)
        y, x = np.mgrid[: self._height, : self._width].astype(np.float32)
        x, y = x - (self._width - 1) / 2, y - (self._height - 1) / 2
        turned = -y * right + x * down
        columns = np.stack([self._template, np.ones_like(x), -right, -down, -turned], -1).reshape(-1, 5)
        # What a shift moves in from outside says nothing.
        border = max(2, self._height // 12), max(2, self._width // 12)
        inside = np.zeros_like(self._template)
        inside[border[0] : -border[0], border[1] : -border[1]] = 1
        self._weights = (inside if self._seen is None else inside * (self._seen > 0.99)).reshape(-1)
        self._fit: _Plane = np.linalg.pinv(columns * self._weights[:, None]).astype(np.float32)

    def measure(self, grey: Image, steps: int = 1) -> tuple[float, float, float]:
        """Returns the shift in widths and in heights, and the rotation in degrees clockwise."""
        small = self._prepare(np.asarray(cv2.resize(grey, self._size, interpolation=cv2.INTER_AREA), np.float32))
        # It multiplies what it is given with the window, in place.
        (x, y), _ = cv2.phaseCorrelate(self._template.copy(), small.copy(), self._window)
        most_x, most_y = _MOST_SHIFT * self._width, _MOST_SHIFT * self._height
        x, y, angle = min(max(x, -most_x), most_x), min(max(y, -most_y), most_y), 0.0
        for _ in range(steps):
            more = self._fit @ (self._moved_back(small, x, y, angle).reshape(-1) * self._weights)
            gain = float(more[0])
            if gain < 0.1:
                break
            x, y, angle = x + float(more[2]) / gain, y + float(more[3]) / gain, angle + float(more[4]) / gain
        return x / self._width, y / self._height, math.degrees(angle)

    def _moved_back(self, small: _Plane, x: float, y: float, angle: float) -> _Plane:
        # `warpAffine` with WARP_INVERSE_MAP looks up where each pixel of the template lies in the picture.
        middle_x, middle_y = (self._width - 1) / 2, (self._height - 1) / 2
        cosine, sine = math.cos(angle), math.sin(angle)
        matrix = np.array([
            [cosine, -sine, x + middle_x - cosine * middle_x + sine * middle_y],
            [sine, cosine, y + middle_y - sine * middle_x - cosine * middle_y],
        ])  # fmt: skip
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(small, matrix, self._size, flags=flags, borderMode=cv2.BORDER_REPLICATE),
                          np.float32)  # fmt: skip

    def _prepare(self, plane: _Plane) -> _Plane:
        if self._seen is not None:
            # What is ignored takes the mean of the rest, so that it has no edges of its own.
            mean = float((plane * self._seen).sum() / max(1.0, float(self._seen.sum())))
            plane = plane * self._seen + mean * (1 - self._seen)
        return np.asarray(cv2.GaussianBlur(plane, _SOFT, 0), np.float32)
