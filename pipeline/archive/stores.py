"""Lists the pictures of a source: a folder, pattern, archive, table, journal, object store, or a single picture."""

from __future__ import annotations

import glob
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from engines.errors import DataError
from engines.extras import require
from engines.image import is_picture_name
from pipeline.archive.picture import InFile, InHand, InSlice, InStore, InZip, OpenStores, Picture, Place, StoreLost
from pipeline.config.camera import redact
from pipeline.journal.selection import Selection
from pipeline.journal.stored import StoredPictures
from pipeline.protocol.topics import safe_text

_JOURNAL, _TABLE = b"SQLite format 3\0", b"PAR1"
_DATA_COLUMNS = ("image", "picture", "bytes", "data", "content")
_NAME_COLUMNS = ("name", "path", "file_name", "filename", "part", "key", "id")
_ROWS = 64
# What the libraries raise where a store ends early; those of pyarrow are ValueErrors and OSErrors.
_BROKEN = (OSError, EOFError, ValueError, zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError)

# Tells which pictures are wanted, by their keys.
Wanted = Callable[[str], bool]


def list_pictures(sources: Sequence[str], wanted: Wanted, stores: OpenStores) -> Iterator[Picture]:
    """Yields the wanted pictures of all sources, each once, however many sources name it.

    Args:
        sources: as on the command line.
        wanted: asked before a picture is read from an archive that must be read from front to back.
        stores: keeps archives open.

    Raises:
        DataError: there is no such source, or it has no pictures.
        StoreLost: a source cannot be read to its end.
    """
    for source in sources:
        empty = True
        for picture in _list(source, wanted, stores):
            empty = False
            if picture is not None:
                yield picture
        if empty:
            raise DataError(f"{redact(source)} has no pictures (png, jpg, bmp, tif, webp); give another source")


def check_sources(sources: Sequence[str]) -> None:
    """Refuses sources that do not exist, before any work is done.

    Raises:
        DataError: there is no such file, folder or pattern.
    """
    for source in sources:
        if "://" not in source and not Path(source).exists() and not _matches(source):
            raise DataError(f"there is no file or folder {source}, and as a pattern it matches nothing")


def _matches(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - a pattern may begin anywhere


def _list(source: str, wanted: Wanted, stores: OpenStores) -> Iterator[Picture | None]:
    """Yields pictures, and None for those that are not wanted."""
    if "://" in source:
        yield from _store(source, wanted, stores)
        return
    path = Path(source)
    if not path.exists():
        for match in _matches(source):
            if Path(match).is_file():
                yield from _file(source, Path(match), wanted, stores, PurePosixPath(match).name)
    elif path.is_dir():
        with _told(source):
            for found in _walk(path):
                part = str(found.relative_to(path))
                yield _found(str(found.resolve()), source, part, InFile(str(found)), wanted)
    else:
        yield from _file(source, path, wanted, stores, path.name)


def _file(source: str, path: Path, wanted: Wanted, stores: OpenStores, part: str) -> Iterator[Picture | None]:
    with _told(source):
        if is_picture_name(path.name):
            yield _found(str(path.resolve()), source, part, InFile(str(path)), wanted)
            return
        with path.open("rb") as file:
            magic = file.read(len(_JOURNAL))
        if magic == _JOURNAL:
            yield from _journal(source, path, wanted)
        elif magic.startswith(_TABLE):
            yield from _table(source, path, wanted)
        elif zipfile.is_zipfile(path):
            yield from _zip(source, path, wanted, stores)
        elif tarfile.is_tarfile(path):
            yield from _tar(source, path, wanted)
        else:
            raise DataError(
                f"{path} is no picture, zip, tar or Parquet file, and no line's journal; give another source"
            )


def _walk(folder: Path) -> Iterator[Path]:
    """Yields the picture files of a folder and those below it, in the order of their names."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif is_picture_name(entry.name) and entry.is_file():
            yield Path(entry.path)


def _zip(source: str, path: Path, wanted: Wanted, stores: OpenStores) -> Iterator[Picture | None]:
    root = str(path.resolve())
    for member in stores.zip_file(str(path)).infolist():
        if is_picture_name(PurePosixPath(member.filename).name):
            place = InZip(str(path), member.filename)
            yield _found(f"{root}/{member.filename}", source, member.filename, place, wanted)


def _tar(source: str, path: Path, wanted: Wanted) -> Iterator[Picture | None]:
    root = str(path.resolve())
    try:
        plain = tarfile.open(path, "r:")  # noqa: SIM115 - closed below
    except tarfile.ReadError:
        yield from _packed_tar(source, path, wanted)
        return
    with plain:
        for member in plain:
            if _is_picture(member):
                place = InSlice(str(path), member.offset_data, member.size)
                yield _found(f"{root}/{member.name}", source, member.name, place, wanted)


def _packed_tar(source: str, path: Path, wanted: Wanted) -> Iterator[Picture | None]:
    root = str(path.resolve())
    with tarfile.open(path, "r|*") as packed:
        for member in packed:
            if _is_picture(member):
                found = _found(f"{root}/{member.name}", source, member.name, InHand(b""), wanted)
                file = packed.extractfile(member) if found is not None else None
                yield None if found is None or file is None else replace(found, place=InHand(file.read()))


def _is_picture(member: tarfile.TarInfo) -> bool:
    return member.isreg() and is_picture_name(PurePosixPath(member.name).name)


def _table(source: str, path: Path, wanted: Wanted) -> Iterator[Picture | None]:
    """Lists a Parquet file's rows: bytes, or a struct of bytes and path as the `datasets` library writes it."""
    root, table = str(path.resolve()), require("pyarrow.parquet", "parquet").ParquetFile(path)
    columns = table.schema_arrow.names
    pictures = next((name for name in _DATA_COLUMNS if name in columns), None)
    if pictures is None:
        raise DataError(f"{path} has no column of pictures; call it 'image' (of {', '.join(columns)})")
    names = next((name for name in _NAME_COLUMNS if name in columns), None)
    number = 0
    for batch in table.iter_batches(_ROWS, columns=[pictures, *([] if names is None else [names])]):
        for row in batch.to_pylist():
            data: Any = row[pictures]
            name = None if names is None else row[names]
            if isinstance(data, dict):
                data, name = data.get("bytes"), name or data.get("path")
            part = f"row {number}" if name is None else str(name)
            # Names may come twice in a table; rows do not.
            place = InHand(data if isinstance(data, bytes) else b"")
            yield _found(f"{root}#{number}", source, part, place, wanted)
            number += 1


def _journal(source: str, path: Path, wanted: Wanted) -> Iterator[Picture | None]:
    with StoredPictures(path) as journal:
        found = journal.find(Selection())
    for one in found:
        yield _found(str(one.path.resolve()), source, one.name, InFile(str(one.path)), wanted)


def _store(source: str, wanted: Wanted, stores: OpenStores) -> Iterator[Picture | None]:
    # The address may hold a password.
    fs, plain = require("pyarrow.fs", "parquet"), redact(source)
    with _told(plain):
        system, path = stores.file_system(source), fs.FileSystem.from_uri(source)[1]
        root = system.get_file_info(path)
        if root.type == fs.FileType.NotFound:
            raise DataError(f"there is no {plain}; give another source")
        selector = fs.FileSelector(path, recursive=True)
        files = [root] if root.type == fs.FileType.File else sorted(system.get_file_info(selector), key=_path)
        scheme = source.partition("://")[0]
        for one in files:
            if one.type == fs.FileType.File and is_picture_name(one.base_name):
                part = one.path[len(path) :].lstrip("/") or one.base_name
                yield _found(f"{scheme}://{one.path}", plain, part, InStore(source, one.path), wanted)


def _path(info: Any) -> str:
    return str(info.path)


def _found(key: str, source: str, part: str, place: Place, wanted: Wanted) -> Picture | None:
    # Names need not be UTF-8; what stands in a table must be.
    plain = safe_text(key)
    return Picture(plain, safe_text(source), safe_text(part), place) if wanted(plain) else None


@contextmanager
def _told(source: str) -> Iterator[None]:
    """Turns whatever ends a store early into one sentence."""
    try:
        yield
    except _BROKEN as error:
        why = str(error)
        if isinstance(error, OSError) and error.strerror:
            why = error.strerror if error.filename is None else f"{error.strerror} ({error.filename})"
        raise StoreLost(f"{source} cannot be read to its end: {' '.join(why.split())}") from error
