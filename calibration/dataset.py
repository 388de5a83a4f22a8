"""A data set in MVTec AD layout: what is good, what is defective, and where its masks are.

Layout (Bergmann et al. 2019): `train/good`, `test/good`, `test/<defect>`, `ground_truth/<defect>/NNN_mask.png`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import DataError
from engines.image import IMAGE_SUFFIXES, Image, read_image, resize_frame

GOOD = "good"
MIN_NORMALS = 10
FEW_NORMALS = 50


@dataclass(frozen=True)
class Sample:
    """One picture of a part.

    Attributes:
        path: the picture's file.
        kind: `good`, or the name of the defect.
        mask: file of the defect's ground truth, where there is one.
    """

    path: Path
    kind: str
    mask: Path | None = None

    @property
    def defective(self) -> bool:
        """Whether the part shows a defect."""
        return self.kind != GOOD

    @property
    def part(self) -> str:
        """A short id: the folder and name of the file."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True)
class Dataset:
    """The pictures of one kind of part, split as on disk.

    Attributes:
        root: the data set's folder.
        train: pictures of good parts for calibration.
        test: pictures of good and defective parts for evaluation; may be empty.
    """

    root: Path
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def category(self) -> str:
        """The name of the part: the folder's name."""
        return self.root.resolve().name


def list_images(folder: Path) -> list[Path]:
    """Lists the pictures directly in a folder, by name; hidden files are left out.

    Raises:
        DataError: the folder does not exist or cannot be listed.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror or error}") from error
    return [
        path
        for path in entries
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]


def open_dataset(root: Path) -> Dataset:
    """Finds the pictures of a data set, without reading them.

    Raises:
        DataError: the folder is no data set, or has fewer than 10 pictures of good parts.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give a data set in MVTec AD layout (train/good, test/...)")
    good = root / "train" / GOOD
    if not good.is_dir():
        raise DataError(f"{root} has no folder train/good; put pictures of good parts there (MVTec AD layout)")
    train = tuple(Sample(path, GOOD) for path in list_images(good))
    if len(train) < MIN_NORMALS:
        raise DataError(f"{good} holds {len(train)} pictures; calibration needs at least {MIN_NORMALS}, better 100")
    return Dataset(root, train, tuple(_test_samples(root)))


def open_test_split(root: Path) -> list[Sample]:
    """Finds the test pictures of a data set, which is all that a replay needs.

    Raises:
        DataError: there is no test split, or it is empty.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give a data set in MVTec AD layout (test/good, test/<defect>)")
    samples = list(_test_samples(root))
    if not samples:
        raise DataError(f"{root} has no pictures under test/; give a data set in MVTec AD layout, or use folder:DIR")
    return samples


def _test_samples(root: Path) -> Iterator[Sample]:
    test = root / "test"
    if not test.is_dir():
        return
    for folder in sorted(path for path in test.iterdir() if path.is_dir()):
        truth = root / "ground_truth" / folder.name
        masks = {} if folder.name == GOOD or not truth.is_dir() else {path.stem: path for path in list_images(truth)}
        for path in list_images(folder):
            yield Sample(path, folder.name, masks.get(f"{path.stem}_mask", masks.get(path.stem)))


def read_frames(samples: tuple[Sample, ...] | list[Sample], size: tuple[int, int]) -> Iterator[Image]:
    """Reads pictures one by one, resized to the network's input, uint8 `[H, W, 3]`.

    Raises:
        DataError: a picture cannot be read; the text names its file.
    """
    for sample in samples:
        yield resize_frame(read_image(sample.path), size)


def read_mask(sample: Sample, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Reads a part's ground truth, bool `[H, W]`: all False for a good part.

    Args:
        sample: the part; a defective one must have a mask.
        shape: height and width to bring the mask to.
    """
    if not sample.defective or sample.mask is None:
        return np.zeros(shape, np.bool_)
    mask = np.where(read_image(sample.mask).max(axis=2) > 0, 255, 0).astype(np.uint8)
    if mask.shape != shape:
        mask = np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(mask > 127)
