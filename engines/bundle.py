"""The model bundle: a folder with a manifest and the model's files, all of it checked when it is opened."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.errors import BundleError

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
MODEL_F32 = "model.onnx"
MODEL_F16 = "model.fp16.onnx"
NETWORK = "network.safetensors"
MODEL_INT8 = "model.int8.xml"
MODEL_INT8_WEIGHTS = "model.int8.bin"


class Part(BaseModel):
    """A checked piece of the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Rule = Literal["sigma", "false-alarm-rate", "f1"]


class Threshold(Part):
    """When a part counts as defective: its score, in sigma, is above `value`.

    Attributes:
        value: the threshold in sigma units.
        rule: how it was chosen.
        parameter: what the rule was given: standard deviations, or a false-alarm rate.
        samples: held-out good parts that the promised false alarms rest on.
        tuned_on_defects: whether defective parts had a say.
        false_alarms_per_1000: good parts in a thousand that are expected to be rejected.
        interval_per_1000: 99 % interval of that.
        warning: what the number of samples cannot support, or None.
    """

    value: float
    rule: Rule
    parameter: float | None
    samples: int = Field(ge=1)
    tuned_on_defects: bool
    false_alarms_per_1000: float
    interval_per_1000: tuple[float, float]
    warning: str | None


class Heatmap(Part):
    """The heatmap's grid and its fixed scale.

    Attributes:
        grid: rows and columns.
        full_scale: sigma value that is drawn as the hottest colour and sent as 255; 0 and below is sent as 0.
        threshold: sigma value above which a cell belongs to a region.
    """

    grid: tuple[int, int]
    full_scale: float = Field(gt=0)
    threshold: float


class Statistics(Part):
    """Scores of held-out good parts before they were brought to sigma units, and after.

    Attributes:
        samples: how many.
        mean: mean of the raw score.
        std: standard deviation of the raw score.
        scores: in sigma, ascending: what thresholds are chosen on.
    """

    samples: int = Field(ge=1)
    mean: float
    std: float = Field(gt=0)
    scores: tuple[float, ...]


class Training(Part):
    """What the autoencoder was trained with and how its losses went, an entry an epoch."""

    normals: int
    seed: int
    epochs: int
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    seconds: float


class BackboneInfo(Part):
    """Where the features come from."""

    source: str
    sha256: str
    pretrained: bool


class Int8(Part):
    """How far the 8-bit model drifts from the float32 one on held-out good parts, and whether that was accepted.

    Attributes:
        accepted: whether the bundle holds the model.
        rest: precision of the layers that are not in 8 bits; the processor must have it.
        reason: why it does not, or None.
        samples: held-out good parts it was measured on.
        shift: root mean square difference of the scores, in sigma.
        largest_shift: the largest difference, in sigma.
        flips: share of verdicts that differ.
        max_shift: the most that is accepted of `shift`.
        max_flips: the most that is accepted of `flips`.
        auroc: image AUROC on the labelled test split, or None where there is none.
        exact_auroc: the same of the float32 model.
        max_auroc_drop: the most that is accepted of the difference.
    """

    accepted: bool
    rest: str
    reason: str | None
    samples: int
    shift: float
    largest_shift: float
    flips: float
    max_shift: float
    max_flips: float
    auroc: float | None
    exact_auroc: float | None
    max_auroc_drop: float


class Band(Part):
    """How far the scores of a lower precision lie from float32's on held-out good parts.

    Attributes:
        offset: what the scores lie above float32's in the middle, in sigma; it is taken off before the look.
        width: in sigma: a score farther than this from the threshold has float32's verdict.
        samples: held-out good parts it was measured on.
        std: standard deviation of the difference, in sigma.
        largest: the largest difference after the offset, in sigma.
        share: of good parts whose score lies within `width` of the threshold.
        measured_with: the engine.
    """

    offset: float
    width: float = Field(gt=0)
    samples: int = Field(ge=1)
    std: float
    largest: float
    share: float
    measured_with: str


class Manifest(Part):
    """Everything about a model but its weights.

    Attributes:
        bands: by precision: how far its scores lie from float32's.
    """

    schema_version: int
    category: str
    created_at: str
    network: dict[str, Any]
    backbone: BackboneInfo
    threshold: Threshold
    heatmap: Heatmap
    statistics: Statistics
    training: Training
    int8: Int8 | None
    bands: dict[str, Band]
    versions: dict[str, str]
    files: dict[str, str]


@dataclass(frozen=True)
class Bundle:
    """An opened, checked bundle.

    Attributes:
        path: its folder.
        manifest: its manifest.
        sha256: of the manifest, and through the digests in it of every file.
    """

    path: Path
    manifest: Manifest
    sha256: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        height, width = self.manifest.network["size"]
        return int(height), int(width)

    @property
    def short_id(self) -> str:
        """The first 12 digits of the sha256, as verdicts carry it."""
        return self.sha256[:12]

    def file(self, name: str) -> Path:
        """Returns the path of one of the bundle's files.

        Raises:
            BundleError: the bundle has no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"the bundle {self.path} has no file {name}; calibrate it again to make one")
        return self.path / name


def open_bundle(path: Path) -> Bundle:
    """Opens a bundle and checks its schema and the sha256 of every file.

    Raises:
        BundleError: anything about it is not as it was written.
    """
    try:
        text = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} is no model bundle (it has no readable {MANIFEST}); make one with: "
            "taktline calibrate DIR --out BUNDLE"
        ) from error
    try:
        values = json.loads(text)
    except ValueError as error:
        raise BundleError(f"{path / MANIFEST} is not JSON; the bundle is damaged, calibrate it again") from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"the bundle {path} has schema version {version!r} and this Taktline reads version {SCHEMA_VERSION}; "
            "calibrate it again, or use the Taktline that made it"
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"{path / MANIFEST} is not as it was written ({where}: {first['msg']}); calibrate it again"
        ) from error
    for name, digest in manifest.files.items():
        if Path(name).name != name:
            raise BundleError(f"{path / MANIFEST} names a file outside the bundle ({name}); do not use this bundle")
        _check_file(path / name, digest)
    return Bundle(path, manifest, hashlib.sha256(text).hexdigest())


@contextmanager
def new_bundle(path: Path) -> Iterator[Path]:
    """Gives a temporary folder to write a bundle into, and puts it in its place when all went well.

    An existing bundle is replaced in one step; nothing is left behind when the body raises.

    Raises:
        BundleError: `path` exists and is not a bundle, or cannot be written.
    """
    if path.exists() and not (path / MANIFEST).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise BundleError(f"{path} exists and is not a model bundle; give another --out, or remove it yourself")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror or error}; give another --out") from error
    try:
        yield work
        work.chmod(0o755)
        if path.exists():
            retired = work.with_name(work.name + ".old")
            os.replace(path, retired)
            os.replace(work, path)
            shutil.rmtree(retired)
        else:
            os.replace(work, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """Writes the manifest of the bundle in `folder`, with the sha256 of every file that lies there."""
    files = {file.name: file_sha256(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    manifest = Manifest.model_validate({**values, "schema_version": SCHEMA_VERSION, "files": files})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def update_manifest(bundle: Bundle, changes: dict[str, Any]) -> Bundle:
    """Changes fields of a bundle's manifest in one step, and opens it anew.

    Raises:
        BundleError: the bundle cannot be written.
    """
    values = bundle.manifest.model_dump(mode="json") | changes
    manifest = Manifest.model_validate(values)
    target = bundle.path / MANIFEST
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=bundle.path, suffix=".tmp", delete=False) as file:
            file.write(manifest.model_dump_json(indent=2) + "\n")
        Path(file.name).chmod(0o644)
        os.replace(file.name, target)
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror or error}; nothing was changed") from error
    return open_bundle(bundle.path)


def file_sha256(path: Path) -> str:
    """Returns the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(path: Path, digest: str) -> None:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise BundleError(f"the bundle's file {path} cannot be read; copy the bundle again, whole") from error
    if found != digest:
        raise BundleError(
            f"the bundle's file {path} was altered or damaged (its sha256 differs from the manifest's); "
            "copy the bundle again"
        )
