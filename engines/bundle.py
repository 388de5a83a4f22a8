"""The model bundle: a folder with a manifest and the model's files, all checked when it is opened."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engines.errors import BundleError
from engines.files import exchange, write_atomic
from engines.manifest import READABLE_VERSIONS, SCHEMA_VERSION, Manifest
from engines.validation import explain

MANIFEST = "manifest.json"
MODEL_F32 = "model.onnx"
MODEL_F16 = "model.fp16.onnx"
NETWORK = "network.safetensors"
MODEL_INT8 = "model.int8.xml"
MODEL_INT8_WEIGHTS = "model.int8.bin"
# White where frames are ignored, at the network's input size.
IGNORED = "ignored.png"


@dataclass(frozen=True)
class Bundle:
    """An opened, checked bundle.

    Attributes:
        path: its folder.
        manifest: its manifest.
        sha256: of the manifest, which holds the sha256 of every file.
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
        """The first 12 digits of the sha256, which verdicts carry."""
        return self.sha256[:12]

    def file(self, name: str) -> Path:
        """Returns the path of one of the bundle's files.

        Raises:
            BundleError: the bundle has no such file.
        """
        if name not in self.manifest.files:
            raise BundleError(f"the bundle {self.path} has no file {name}; calibrate it again to make one")
        return self.path / name

    def contents(self) -> dict[str, bytes]:
        """Reads all its files, by name, for another machine.

        Raises:
            BundleError: one cannot be read any more.
        """
        try:
            return {name: (self.path / name).read_bytes() for name in (MANIFEST, *self.manifest.files)}
        except OSError as error:
            raise BundleError(f"the bundle {self.path} cannot be read: {error.strerror or error}") from error


def open_bundle(path: Path) -> Bundle:
    """Opens a bundle and checks its schema and the sha256 of every file.

    Raises:
        BundleError: something is missing or was altered.
    """
    bundle = read_bundle(path)
    for name, digest in bundle.manifest.files.items():
        _check_file(path / name, digest)
    return bundle


def read_bundle(path: Path) -> Bundle:
    """Reads a bundle's manifest only, for those who leave it to another process to check the files.

    Raises:
        BundleError: the manifest is missing or was altered.
    """
    try:
        text = (path / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path} is not a model bundle (it has no readable {MANIFEST}); make one with: "
            "taktline calibrate DIR --out BUNDLE"
        ) from error
    try:
        values = json.loads(text)
    except ValueError as error:
        raise BundleError(f"{path / MANIFEST} is not JSON; the bundle is damaged, calibrate it again") from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version not in READABLE_VERSIONS:
        known = " and ".join(map(str, READABLE_VERSIONS))
        raise BundleError(
            f"the bundle {path} has schema version {version!r} and this Taktline reads versions {known}; "
            "calibrate it again, or use the Taktline that made it"
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise BundleError(
            f"{path / MANIFEST} was altered or damaged ({explain(error)}); calibrate the bundle again"
        ) from error
    for name in manifest.files:
        if Path(name).name != name:
            raise BundleError(f"{path / MANIFEST} names a file outside the bundle ({name}); do not use this bundle")
    return Bundle(path, manifest, hashlib.sha256(text).hexdigest())


@contextmanager
def new_bundle(path: Path) -> Iterator[Path]:
    """Yields a temporary folder to write a bundle into, and moves it into place if the block succeeds.

    An existing bundle is replaced in one step if the file system can do that. If the block raises, nothing is left
    behind.

    Raises:
        BundleError: `path` exists and is not a bundle, or cannot be written.
    """
    if path.exists() and not (path / MANIFEST).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise BundleError(f"{path} exists and is not a model bundle; give another --out, or remove it yourself")
    # Named before it is there, so that whoever interrupts this at any moment leaves nothing behind.
    work = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            work.mkdir(mode=0o700)
        except OSError as error:
            raise BundleError(f"{path} cannot be written: {error.strerror or error}; give another --out") from error
        yield work
        work.chmod(0o755)
        if path.exists():
            _swap(work, path)
        else:
            work.replace(path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """Writes the manifest of the bundle in `folder`, with the sha256 of every file there."""
    files = {file.name: file_sha256(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    manifest = Manifest.model_validate({**values, "schema_version": SCHEMA_VERSION, "files": files})
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def update_manifest(bundle: Bundle, changes: dict[str, Any]) -> Bundle:
    """Changes fields of a bundle's manifest in one step, and opens the bundle again.

    Raises:
        BundleError: the bundle cannot be written.
    """
    values = bundle.manifest.model_dump(mode="json") | {"schema_version": SCHEMA_VERSION} | changes
    manifest = Manifest.model_validate(values)
    target = bundle.path / MANIFEST
    try:
        write_atomic(target, manifest.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise BundleError(f"{target} cannot be written: {error.strerror or error}; nothing was changed") from error
    return open_bundle(bundle.path)


def file_sha256(path: Path) -> str:
    """Returns the sha256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _swap(work: Path, path: Path) -> None:
    """Swaps two folders."""
    try:
        exchange(work, path)
    except OSError:
        # Network file systems cannot swap in one step. If anything fails, the old bundle keeps its name.
        retired = work.with_name(work.name + ".old")
        path.replace(retired)
        try:
            work.replace(path)
        except BaseException:
            retired.replace(path)
            raise
        retired.replace(work)


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
