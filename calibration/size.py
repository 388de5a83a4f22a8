"""Proposes the size of the network's input: the smallest that keeps the fine detail of the good parts."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch

from calibration.dataset import Sample
from calibration.progress import Reporter
from engines.architecture import Arch
from engines.image import read_image
from engines.manifest import OfferedSize
from engines.network import NetworkConfig
from engines.resnet import Backbone
from engines.tiles import tiles_over

# A size is to keep this share of the detail, and a hairline of three pixels so wide. docs/recipe.md says why no more.
ENOUGH = 0.6
_HAIRLINE_PX, _STAYS_PX = 3.0, 1.25
# As many cells as squares of these sides have, in the part's own aspect: each takes about twice as long as the last.
_SIDES = (224, 320, 448, 640)
_STEP, _LEAST, _MOST = 16, 64, 4096
_PICTURES, _RUNS = 12, 3
_MOST_PIXELS = 24_000_000
# What a Gaussian of so many pixels smooths away is fine detail: what is up to about six pixels wide.
_FINE_PX = 2.0
# Of detail that is weaker than half of the noise's own, or than a step of gray, what is left tells nothing.
_LEAST_OVER_NOISE, _LEAST_POWER = 0.5, 1.0
_SECOND_DIFFERENCES: npt.NDArray[np.float32] = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SizeOffer:
    """A size of the network's input.

    Attributes:
        size: height and width.
        kept: share of the good parts' fine detail that it keeps, 0 to 1; noise is no detail.
        work_ms: milliseconds that the backbone takes for a frame on this machine, with PyTorch in float32.
        hairline: whether a line of three of the camera's pixels stays wide enough.
    """

    size: tuple[int, int]
    kept: float
    work_ms: float
    hairline: bool = True

    @property
    def enough(self) -> bool:
        """Whether it shows what there is to see."""
        return self.hairline and self.kept >= ENOUGH

    @property
    def name(self) -> str:
        """The size in words, width first, as `--size` takes it."""
        return f"{self.size[1]}x{self.size[0]}"


def offer_sizes(samples: Sequence[Sample], report: Reporter, arch: Arch = "resnet50") -> list[SizeOffer]:
    """Measures what some sizes in the part's own aspect keep and cost, smallest first.

    None but the smallest has more pixels than the pictures.

    Args:
        samples: good parts; twelve of them are read, or fewer large ones.
        report: told how far it is.
        arch: the backbone's architecture.

    Raises:
        DataError: a picture cannot be read.
    """
    pictures = _read_some(samples)
    native = statistics.median(len(picture) for picture in pictures)
    aspect = statistics.median(picture.shape[1] / picture.shape[0] for picture in pictures)
    sizes = _candidates(native, aspect)
    # What weights it has makes no difference to the time.
    backbone = Backbone(arch).eval()
    offers = []
    for done, size in enumerate(sizes):
        report("size", done, len(sizes), f"{size[1]}x{size[0]}")
        kept = statistics.fmean(_kept(picture, size) for picture in pictures)
        hairline = _HAIRLINE_PX * min(size[0] / native, size[1] / (native * aspect)) >= _STAYS_PX
        offers.append(SizeOffer(size, kept, _work_ms(backbone, size), hairline))
    report("size", len(sizes), len(sizes))
    return offers


def choose_size(offers: Sequence[SizeOffer], takt_ms: float | None = None) -> SizeOffer:
    """Returns the smallest size that keeps enough detail; the largest where none does.

    Args:
        offers: smallest first.
        takt_ms: no size takes longer, but the smallest may; None for no limit.
    """
    within = [offer for offer in offers if takt_ms is None or offer.work_ms <= takt_ms] or list(offers[:1])
    return next((offer for offer in within if offer.enough), within[-1])


@dataclass(frozen=True)
class MeasuredSize:
    """A network whose size was measured.

    Attributes:
        network: its shape, with size and tiles.
        reason: why, in words.
        offers: what each size would keep and cost.
    """

    network: NetworkConfig
    reason: str
    offers: tuple[OfferedSize, ...]

    def to_json(self) -> dict[str, object]:
        """Returns what the manifest says about it."""
        return {"size_reason": self.reason, "sizes": [offer.model_dump() for offer in self.offers]}


def measure_size(
    samples: Sequence[Sample], network: NetworkConfig, tile: tuple[int, int], takt_ms: float | None, report: Reporter
) -> MeasuredSize:
    """Chooses size and tiles of a network by what good parts show. The smallest size is one tile, as the recipe has it.

    Args:
        samples: good parts.
        network: the rest of its shape.
        tile: the largest height and width of a tile.
        takt_ms: see `choose_size`.
        report: told how far it is.

    Raises:
        DataError: a picture cannot be read.
    """
    offers = offer_sizes(samples, report, network.arch)
    chosen = choose_size(offers, takt_ms)
    down, across = (tiles_over(side, most, network.overlap) for side, most in zip(chosen.size, tile, strict=True))
    tiles = (1, 1) if chosen is offers[0] else (down, across)
    rows = tuple(
        OfferedSize(
            size=offer.size,
            kept=round(offer.kept, 3),
            hairline=offer.hairline,
            work_ms=round(offer.work_ms, 1),
            chosen=offer is chosen,
        )
        for offer in offers
    )
    return MeasuredSize(replace(network, size=chosen.size, tiles=tiles), _reason(chosen, takt_ms), rows)


def _reason(chosen: SizeOffer, takt_ms: float | None) -> str:
    wanted = f"{ENOUGH:.0%} of the good parts' fine detail, and shows a line of {_HAIRLINE_PX:g} pixels"
    if chosen.enough:
        return f"size {chosen.name}: the smallest that keeps {wanted}"
    limit = "" if takt_ms is None else f" that takes at most {takt_ms:g} ms"
    return f"size {chosen.name}: the largest tried{limit}, with {chosen.kept:.0%}; one is wanted that keeps {wanted}"


def _read_some(samples: Sequence[Sample]) -> list[Plane]:
    """Reads pictures from all over a list, in gray, until there are enough pixels."""
    picks = np.unique(np.linspace(0, len(samples) - 1, _PICTURES).round().astype(int))
    pictures: list[Plane] = []
    for index in np.random.default_rng(0).permutation(picks):
        pictures.append(read_image(samples[index].path).mean(2, dtype=np.float32))
        if sum(picture.size for picture in pictures) > _MOST_PIXELS:
            break
    return pictures


def _candidates(native: float, aspect: float) -> list[tuple[int, int]]:
    """Returns heights and widths in steps of 16, each with about twice as many pixels as the one before.

    Args:
        native: the pictures' height.
        aspect: their width by their height.
    """

    def rounded(pixels: float) -> int:
        return int(min(_MOST, max(_LEAST, _STEP * round(pixels / _STEP))))

    limits = [max(_LEAST, _STEP * math.floor(side / _STEP)) for side in (native, native * aspect)]
    found: list[tuple[int, int]] = []
    for side in _SIDES:
        height, width = rounded(side / math.sqrt(aspect)), rounded(side * math.sqrt(aspect))
        if found:
            height, width = min(height, limits[0]), min(width, limits[1])
        if not found or height * width > found[-1][0] * found[-1][1]:
            found.append((height, width))
    return found


def _kept(picture: Plane, size: tuple[int, int]) -> float:
    """Returns what share of a gray picture's fine detail is still there when it is resized and enlarged again.

    Noise has no detail to lose: what white noise as strong as the picture's would have, and would lose, is taken off.
    """
    height, width = picture.shape
    if height <= size[0] and width <= size[1]:
        return 1.0
    power = _noise(picture) ** 2
    noise = np.random.default_rng(0).standard_normal(picture.shape, np.float32)
    usual, usual_lost = power * _fine(noise), power * _fine(_lost(noise, size))
    detail = max(_fine(picture) - usual, _LEAST_OVER_NOISE * usual, _LEAST_POWER)
    return 1.0 - min(1.0, max(0.0, _fine(_lost(picture, size)) - usual_lost) / detail)


def _lost(picture: Plane, size: tuple[int, int]) -> Plane:
    height, width = picture.shape
    small = cv2.resize(picture, (min(width, size[1]), min(height, size[0])), interpolation=cv2.INTER_AREA)
    return np.asarray(picture - cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def _fine(picture: Plane) -> float:
    """Returns the mean square of what is too fine for a Gaussian."""
    return float(np.mean((picture - cv2.GaussianBlur(picture, (0, 0), _FINE_PX)) ** 2))


def _noise(picture: Plane) -> float:
    """Estimates the standard deviation of a picture's noise (Immerkaer 1996, with the median in the mean's place)."""
    differences = cv2.filter2D(picture, -1, _SECOND_DIFFERENCES)
    return float(np.median(np.abs(differences))) / (0.6745 * float(np.linalg.norm(_SECOND_DIFFERENCES)))


@torch.inference_mode()
def _work_ms(backbone: Backbone, size: tuple[int, int]) -> float:
    frame = torch.zeros(1, *size, 3, dtype=torch.uint8)
    backbone(frame)
    times = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        backbone(frame)
        times.append(time.perf_counter() - began)
    # Whatever else ran on the machine only made it slower.
    return 1000 * min(times)
