"""The pictures for measurements: real ones, and too many to fit into a cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import cv2
import numpy as np

from bench.load.decode import Decode
from bench.measure.machine import largest_cache
from calibration.dataset import Sample, open_test_split
from calibration.parts import draw_part
from engines.engine import Frames
from engines.image import Image, read_image, resize_frame

_GOOD_TO_EACH_DEFECTIVE = 9
_DRAWN = ("chip", "stain")
_JPEG_QUALITY = 95


def load_pictures(data: Path | None, most: int = 200) -> list[Image]:
    """Reads a data set's test pictures as a line sees them: mixed, and one in ten defective.

    Test splits hold far more defective parts, whose scores lie near the threshold more often: with a second look, an
    engine would be measured at what no line gives it. Without a data set, parts are drawn.
    """
    rng = np.random.default_rng(0)
    if data is None:
        kinds = [*_DRAWN, *[None] * (_GOOD_TO_EACH_DEFECTIVE * len(_DRAWN))]
        return [draw_part(rng, kinds[index])[0] for index in rng.permutation(len(kinds))]
    samples = open_test_split(data)
    good, defective = ([sample for sample in samples if sample.defective is bad] for bad in (False, True))
    few = max(1, min(most, len(good)) // (_GOOD_TO_EACH_DEFECTIVE + 1)) if good else most
    chosen = [*_evenly(defective, few), *_evenly(good, most - few)]
    return [read_image(chosen[index].path) for index in rng.permutation(len(chosen))]


def _evenly(samples: Sequence[Sample], most: int) -> list[Sample]:
    """Returns so many at most from the whole list, which is sorted by kind of defect."""
    indices = np.linspace(0, len(samples) - 1, min(most, len(samples))).astype(int)
    return [samples[index] for index in indices]


@contextmanager
def stored_frames(pictures: Sequence[Image], size: tuple[int, int]) -> Iterator[Path]:
    """Stores pictures at the network's size in a temporary file, which processes share by mapping it.

    They are repeated until they fill the largest cache twice, because a frame from a camera is not in a cache either.
    """
    small = np.stack([resize_frame(picture, size) for picture in pictures])
    repeats = -(-2 * largest_cache() // small.nbytes)
    with TemporaryDirectory(prefix="taktline-bench-") as folder:
        path = Path(folder) / "frames.npy"
        np.save(path, np.concatenate([small] * repeats))
        yield path


def map_frames(path: Path) -> Frames:
    """Maps stored frames into memory and loads them."""
    # Writable, though nobody writes, because PyTorch warns about read-only arrays.
    frames: Frames = np.load(path, mmap_mode="c")
    frames.max()
    return frames


def as_sent(pictures: Sequence[Image], size: tuple[int, int], decode: Decode) -> list[Image | bytes]:
    """Converts pictures to the form in which a line gets them.

    Args:
        pictures: uint8 BGR.
        size: size of the network's input.
        decode: `memory` for pixels at the network's size, with nothing left to do; `raw` for pixels at the camera's
            size, which the line resizes; `jpeg` and `png` for files of that size, which the line also decodes.
    """
    if decode == "memory":
        return [resize_frame(picture, size) for picture in pictures]
    if decode == "raw":
        return [_as_taken(picture) for picture in pictures]
    return [encode_picture(picture, decode) for picture in pictures]


def encode_picture(picture: Image, kind: Literal["jpeg", "png"]) -> bytes:
    """Encodes a picture; a gray one is encoded as gray."""
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if kind == "jpeg" else []
    return cv2.imencode(f".{kind}", _as_taken(picture), options)[1].tobytes()


def _as_taken(picture: Image) -> Image:
    """Returns a picture with three equal channels as gray, as a monochrome camera would send it."""
    return np.ascontiguousarray(picture[..., 0]) if (picture == picture[..., :1]).all() else picture
