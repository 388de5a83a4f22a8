"""Data sets: which pictures show good parts, which show defects, and where the masks are.

It understands four layouts:

- MVTec AD (Bergmann et al. 2019): `train/good`, `test/good`, `test/<defect>`, `ground_truth/<defect>/NNN_mask.png`;
- BTAD (Mishra et al. 2021): the same with `ok` for good and `ko` for the defects;
- VisA (Zou et al. 2022): `Data/Images/Normal`, `Data/Images/Anomaly`, `Data/Masks/Anomaly`, and, beside the category
  or above it, `split_csv/1cls.csv`;
- plain: `good`, and any other folder as a kind of defect.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from calibration.defaults import DEFAULT_SPLIT
from engines.errors import DataError
from engines.image import IMAGE_SUFFIXES, Image, read_image, resize_frame

GOOD = "good"
MIN_NORMALS = 10
_GOOD_NAMES = (GOOD, "ok")
_NOT_DEFECTS = frozenset({"train", "test", "ground_truth", "masks", "split_csv"})


@dataclass(frozen=True)
class Sample:
    """One picture of a part.

    Attributes:
        path: the picture's file.
        kind: `good`, or the name of the defect.
        mask: file of the defect's ground truth, if there is one.
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
        """A short id: the file's folder and name."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True)
class Dataset:
    """The pictures of one kind of part, split into those to train on and those to test.

    Attributes:
        root: the data set's folder.
        layout: `MVTec AD`, `BTAD`, `VisA` or `plain`.
        train: pictures of good parts for calibration.
        test: pictures of good and defective parts for evaluation; may be empty.
    """

    root: Path
    layout: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def category(self) -> str:
        """The name of the part, which is the folder's name."""
        return self.root.resolve().name


def list_images(folder: Path) -> list[Path]:
    """Lists the pictures directly in a folder, by name, without hidden files.

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


def find_dataset(root: Path, split: float = DEFAULT_SPLIT, seed: int = 0) -> Dataset:
    """Finds the pictures of a data set in any layout, without reading them.

    Args:
        root: its folder.
        split: share of the good parts to train on, if the layout has no split of its own.
        seed: seed of that split.

    Raises:
        DataError: the folder is not a data set, or the split is out of range.
    """
    if not 0 < split <= 1:
        raise DataError(f"the split is {split:g}; give the share of good parts to train on, such as 0.8")
    if not root.is_dir():
        raise DataError(f"there is no folder {root}; give a data set such as MVTec AD's (train/good, test/...)")
    for find in (_find_mvtec, _find_visa, _find_plain):
        dataset = find(root, split, seed)
        if dataset is not None:
            return dataset
    raise DataError(
        f"{root} has no folder train/good (MVTec AD), train/ok (BTAD), Data/Images/Normal (VisA) or good; "
        "put pictures of good parts in one of them"
    )


def open_dataset(root: Path, split: float = DEFAULT_SPLIT, seed: int = 0) -> Dataset:
    """Finds the pictures of a data set to calibrate on; see `find_dataset`.

    Raises:
        DataError: the folder is not a data set, or has fewer than 10 pictures of good parts.
    """
    dataset = find_dataset(root, split, seed)
    if len(dataset.train) < MIN_NORMALS:
        raise DataError(
            f"{root} has {len(dataset.train)} pictures of good parts to train on; calibration needs at least "
            f"{MIN_NORMALS}, better 100"
        )
    return dataset


def open_test_split(root: Path, split: float = DEFAULT_SPLIT, seed: int = 0) -> list[Sample]:
    """Finds the test pictures of a data set, which are all that a replay or an evaluation needs.

    Raises:
        DataError: there is no test split, or it is empty.
    """
    own = (root / "test").is_dir()
    samples = list(_test_samples(root) if own else find_dataset(root, split, seed).test)
    if not samples:
        raise DataError(f"{root} has no test pictures; give a data set in MVTec AD layout, or use folder:DIR")
    return samples


def read_frames(samples: tuple[Sample, ...] | list[Sample], size: tuple[int, int]) -> Iterator[Image]:
    """Reads pictures one by one, resized to the network's input, uint8 `[H, W, 3]`.

    Raises:
        DataError: a picture cannot be read; the text names its file.
    """
    for sample in samples:
        yield resize_frame(read_image(sample.path), size)


def read_mask(sample: Sample, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Reads a part's ground truth, bool `[H, W]`: all False for a good part.

    If a mask differs in size from its picture, it is resized to fit.

    Args:
        sample: the part; a defective one without a mask counts as unmarked, all False.
        shape: height and width of the result.
    """
    if not sample.defective or sample.mask is None:
        return np.zeros(shape, np.bool_)
    mask = np.where(read_image(sample.mask).max(axis=2) > 0, 255, 0).astype(np.uint8)
    if mask.shape != shape:
        mask = np.asarray(cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(mask > 127)


def _find_mvtec(root: Path, split: float, seed: int) -> Dataset | None:
    del split, seed
    for name, layout in zip(_GOOD_NAMES, ("MVTec AD", "BTAD"), strict=True):
        good = root / "train" / name
        if good.is_dir():
            train = tuple(Sample(path, GOOD) for path in list_images(good))
            return Dataset(root, layout, train, tuple(_test_samples(root)))
    return None


def _test_samples(root: Path) -> Iterator[Sample]:
    test = root / "test"
    if not test.is_dir():
        return
    for folder in sorted(path for path in test.iterdir() if path.is_dir()):
        kind = GOOD if folder.name in _GOOD_NAMES else folder.name
        masks = {} if kind == GOOD else _masks(root / "ground_truth" / folder.name)
        for path in list_images(folder):
            yield Sample(path, kind, masks.get(path.stem))


def _find_visa(root: Path, split: float, seed: int) -> Dataset | None:
    normal, anomaly = root / "Data" / "Images" / "Normal", root / "Data" / "Images" / "Anomaly"
    if not normal.is_dir():
        return None
    masks = _masks(root / "Data" / "Masks" / "Anomaly")
    defects = [Sample(path, "anomaly", masks.get(path.stem)) for path in _images_or_none(anomaly)]
    for table in (root / "split_csv" / "1cls.csv", root.parent / "split_csv" / "1cls.csv"):
        if table.is_file():
            return _visa_from_table(root, table, defects)
    train, test = _split(list_images(normal), split, seed)
    return Dataset(root, "VisA", train, (*test, *defects))


def _visa_from_table(root: Path, table: Path, defects: list[Sample]) -> Dataset:
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("object") == root.resolve().name]
    normal = {
        part: tuple(
            Sample(root.parent / row["image"], GOOD)
            for row in rows
            if row.get("split") == part and row.get("label") == "normal"
        )
        for part in ("train", "test")
    }
    missing = [sample.path for part in normal.values() for sample in part if not sample.path.is_file()]
    if not rows or missing:
        what = f"names {missing[0]}, which does not exist" if missing else f"has no rows for {root.resolve().name}"
        raise DataError(f"{table} {what}; copy the whole data set again")
    return Dataset(root, "VisA", normal["train"], (*normal["test"], *defects))


def _find_plain(root: Path, split: float, seed: int) -> Dataset | None:
    good = next((root / name for name in _GOOD_NAMES if (root / name).is_dir()), None)
    if good is None:
        return None
    train, test = _split(list_images(good), split, seed)
    folders = sorted(path for path in root.iterdir() if path.is_dir() and path != good)
    defects = [
        Sample(path, folder.name, masks.get(path.stem))
        for folder in folders
        if folder.name.lower() not in _NOT_DEFECTS and not folder.name.startswith(".")
        for masks in [_masks(root / "ground_truth" / folder.name)]
        for path in list_images(folder)
    ]
    return Dataset(root, "plain", train, (*test, *defects))


def _split(paths: list[Path], share: float, seed: int) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    order = np.random.default_rng(seed).permutation(len(paths))
    count = round(share * len(paths))
    train, test = (sorted(paths[index] for index in part) for part in (order[:count], order[count:]))
    return tuple(Sample(path, GOOD) for path in train), tuple(Sample(path, GOOD) for path in test)


def _masks(folder: Path) -> dict[str, Path]:
    return {path.stem.removesuffix("_mask"): path for path in _images_or_none(folder)}


def _images_or_none(folder: Path) -> list[Path]:
    return list_images(folder) if folder.is_dir() else []
