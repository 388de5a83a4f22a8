"""Proposes the size of the network's input: the smallest that keeps the detail of the good parts."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from calibration.dataset import Sample
from calibration.progress import Reporter
from engines.architecture import Arch
from engines.image import Image, read_image
from engines.resnet import Backbone

# A size may lose this share of a picture's contrast.
MOST_LOST = 0.05
# As many cells as squares of these sides have, in the part's own aspect: each takes about twice as long as the last.
_SIDES = (224, 320, 448)
_STEP, _LEAST, _MOST = 16, 64, 1024
_PICTURES, _RUNS = 12, 3


@dataclass(frozen=True)
class SizeOffer:
    """A size of the network's input.

    Attributes:
        size: height and width.
        lost: share of the pictures' contrast that lies in detail too fine for it, 0 to 1.
        work_ms: milliseconds that the backbone takes for a frame on this machine, with PyTorch in float32.
    """

    size: tuple[int, int]
    lost: float
    work_ms: float

    @property
    def name(self) -> str:
        """The size in words, width first, as `--size` takes it."""
        return f"{self.size[1]}x{self.size[0]}"


def offer_sizes(samples: Sequence[Sample], report: Reporter, arch: Arch = "resnet50") -> list[SizeOffer]:
    """Measures what some sizes in the part's own aspect lose and cost, smallest first.

    Args:
        samples: good parts; twelve of them are read.
        report: told how far it is.
        arch: the backbone's architecture.

    Raises:
        DataError: a picture cannot be read.
    """
    picks = np.unique(np.linspace(0, len(samples) - 1, _PICTURES).round().astype(int))
    pictures = [read_image(samples[index].path) for index in picks]
    aspect = statistics.median(picture.shape[1] / picture.shape[0] for picture in pictures)
    sizes = list(dict.fromkeys(_in_aspect(side, aspect) for side in _SIDES))
    # What weights it has makes no difference to the time.
    backbone = Backbone(arch).eval()
    offers = []
    for done, size in enumerate(sizes):
        report("size", done, len(sizes), f"{size[1]}x{size[0]}")
        lost = statistics.fmean(_lost(picture, size) for picture in pictures)
        offers.append(SizeOffer(size, lost, _work_ms(backbone, size)))
    report("size", len(sizes), len(sizes))
    return offers


def choose_size(offers: Sequence[SizeOffer]) -> SizeOffer:
    """Returns the smallest size that loses little; the largest where all lose more."""
    return next((offer for offer in offers if offer.lost <= MOST_LOST), offers[-1])


def explain_size(offers: Sequence[SizeOffer]) -> str:
    """Says what was chosen, and what each size would lose and cost."""
    chosen = choose_size(offers)
    each = "; ".join(f"{offer.name} loses {offer.lost:.1%} and takes {offer.work_ms:.0f} ms" for offer in offers)
    return (
        f"size {chosen.name}: the smallest that loses at most {MOST_LOST:.0%} of the pictures' contrast, or the "
        f"largest tried ({each} a frame with PyTorch on this machine; engines are faster)"
    )


def _in_aspect(side: int, aspect: float) -> tuple[int, int]:
    """Returns a height and a width in steps of 16, with about `side` squared pixels."""

    def rounded(pixels: float) -> int:
        return int(min(_MOST, max(_LEAST, _STEP * round(pixels / _STEP))))

    return rounded(side / math.sqrt(aspect)), rounded(side * math.sqrt(aspect))


def _lost(picture: Image, size: tuple[int, int]) -> float:
    """Returns how much of a picture's contrast is gone when it is resized and enlarged again."""
    height, width = picture.shape[:2]
    whole = picture.astype(np.float32)
    if height <= size[0] and width <= size[1]:
        return 0.0
    small = cv2.resize(whole, (min(width, size[1]), min(height, size[0])), interpolation=cv2.INTER_AREA)
    again = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    contrast = float(whole.std(axis=(0, 1)).mean())
    return min(1.0, float(np.sqrt(np.mean((whole - again) ** 2))) / max(contrast, 1e-6))


@torch.inference_mode()
def _work_ms(backbone: Backbone, size: tuple[int, int]) -> float:
    frame = torch.zeros(1, *size, 3, dtype=torch.uint8)
    backbone(frame)
    times = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        backbone(frame)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)
