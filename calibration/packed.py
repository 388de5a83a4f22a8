"""A data set as bytes, to be calibrated on by a machine that does not see this one's files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from calibration.calibrate import CalibrationSettings
from calibration.dataset import Dataset
from engines.errors import DataError

_TABLE = Path("split_csv") / "1cls.csv"
_DATA, _BESIDE = "data", "beside"


@dataclass(frozen=True)
class Packed:
    """The files of a data set and of its calibration's settings.

    Attributes:
        root: where the data set lies here.
        category: its name, which is that of its folder.
        files: by their place: pictures and masks in the layout that they have here, and what the settings name.
        settings: with places instead of paths.
    """

    root: Path
    category: str
    files: dict[str, bytes]
    settings: CalibrationSettings

    def unpack(self, folder: Path) -> tuple[Path, CalibrationSettings]:
        """Writes the files into an empty folder, and returns the data set's folder and the settings for there.

        Raises:
            OSError: it cannot be written.
        """
        for place, data in self.files.items():
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        own = self.settings
        backbone = str(folder / own.backbone) if own.backbone in self.files else own.backbone
        ignore = None if own.ignore is None else folder / own.ignore
        return folder / _DATA / self.category, replace(own, backbone=backbone, ignore=ignore)

    def as_here(self, text: str, folder: Path) -> str:
        """Returns a text that names unpacked files with their paths here."""
        return text.replace(str(folder / _DATA / self.category), str(self.root)).replace(f"{folder}/", "")


def pack(dataset: Dataset, settings: CalibrationSettings) -> Packed:
    """Reads all files of a data set.

    Raises:
        DataError: one cannot be read.
    """
    files: dict[str, bytes] = {}
    places = dict(_places(dataset))
    # Each in a folder of its own: a bundle keeps the name of its weights.
    weights, ignore = Path(settings.backbone), settings.ignore
    if weights.is_file():
        settings = replace(settings, backbone=f"{_BESIDE}/backbone/{weights.name}")
        places[settings.backbone] = weights
    if ignore is not None:
        settings = replace(settings, ignore=Path(_BESIDE, "ignore", ignore.name))
        places[str(settings.ignore)] = ignore
    for place, path in places.items():
        try:
            files[place] = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return Packed(dataset.root, dataset.category, files, settings)


def dataset_files(dataset: Dataset) -> list[Path]:
    """Lists all files that a data set consists of: pictures, masks, and VisA's table."""
    found = []
    for sample in (*dataset.train, *dataset.test):
        found.append(sample.path)
        if sample.mask is not None:
            found.append(sample.mask)
    tables = (dataset.root / _TABLE, dataset.root.parent / _TABLE)
    return [*found, *(table for table in tables if table.is_file())]


def _places(dataset: Dataset) -> Iterator[tuple[str, Path]]:
    """Yields each file's place, with the category's name for the folder, which may be a link with another one."""
    for path in dataset_files(dataset):
        inside = path.is_relative_to(dataset.root)
        if ".." in path.parts[len(dataset.root.parts) - 1 :] or not path.is_relative_to(dataset.root.parent):
            raise DataError(f"{path} lies outside of {dataset.root.parent}; copy the whole data set again")
        within = path.relative_to(dataset.root if inside else dataset.root.parent)
        parts = (_DATA, dataset.category, *within.parts) if inside else (_DATA, *within.parts)
        yield str(PurePosixPath(*parts)), path
