"""What a finished job of a suite leaves beside its bundle, so that nobody does it a second time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calibration.calibrate import CalibrationSettings
from calibration.dataset import Dataset
from calibration.packed import dataset_files
from engines.bundle import Bundle, open_bundle
from engines.errors import BundleError, DataError
from engines.files import save


@dataclass(frozen=True)
class Result:
    """What came of a job.

    Attributes:
        bundle: the bundle.
        metrics: the evaluation's figures and its engine; None without an evaluation.
    """

    bundle: Bundle
    metrics: dict[str, Any] | None


class Record:
    """The record of one job: `CATEGORY.json` beside the bundle.

    Args:
        out: the bundle's folder.
        dataset: the pictures; other names, sizes or times of change count as others.
        settings: of the calibration.
        wishes: on what else the result depends.

    Raises:
        DataError: a file of the data set is gone.
    """

    def __init__(
        self, out: Path, dataset: Dataset, settings: CalibrationSettings, wishes: Sequence[str | None]
    ) -> None:
        self._out, self._path = out, out.with_name(f"{out.name}.json")
        self._key = _key(dataset, settings, wishes)

    def read(self) -> Result | None:
        """Returns the result if the job was finished and its bundle is still the same; None otherwise."""
        try:
            known = json.loads(self._path.read_bytes())
            bundle = open_bundle(self._out)
            if (known["key"], known["bundle"]) != (self._key, bundle.sha256):
                return None
            return Result(bundle, known["figures"])
        except (OSError, ValueError, KeyError, TypeError, BundleError):
            return None

    def write(self, bundle: Bundle, metrics: dict[str, Any] | None) -> Result:
        """Keeps a result.

        Raises:
            DataError: it cannot be written.
        """
        values = {"key": self._key, "bundle": bundle.sha256, "figures": metrics}
        save(self._path, json.dumps(values, indent=2) + "\n", "make room")
        # As it will be read, so that a run that goes on gives the very same table.
        return Result(bundle, json.loads(json.dumps(metrics)))


def _key(dataset: Dataset, settings: CalibrationSettings, wishes: Sequence[str | None]) -> str:
    values = asdict(settings)
    for name, path in (("backbone", Path(settings.backbone)), ("ignore", settings.ignore)):
        if path is not None and path.is_file():
            values[name] = _state(path, path.name)
    base = dataset.root.parent
    listing = [_state(path, os.path.relpath(path, base)) for path in dataset_files(dataset)]
    parts = [version("taktline"), list(wishes), values, listing]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _state(path: Path, name: str) -> tuple[str, int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return name, state.st_size, state.st_mtime_ns
