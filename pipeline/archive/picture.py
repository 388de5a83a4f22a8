"""A stored picture: where it lies, and how its bytes are read, on this machine or on another that sees the store."""

from __future__ import annotations

import errno
import lzma
import threading
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engines.closing import Closing
from engines.errors import DataError, TaktlineError
from engines.extras import require

# These concern one file; any other error of the system concerns the store.
_OF_ONE_FILE = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR}


class StoreLost(TaktlineError):
    """A store cannot be read any further."""


class OpenStores(Closing):
    """Archives and file systems that are open. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zips: dict[str, zipfile.ZipFile] = {}
        self._systems: dict[str, Any] = {}

    def zip_file(self, path: str) -> zipfile.ZipFile:
        """Returns an open zip file."""
        with self._lock:
            if path not in self._zips:
                self._zips[path] = zipfile.ZipFile(path)
            return self._zips[path]

    def file_system(self, uri: str) -> Any:
        """Returns pyarrow's file system for a URI.

        Raises:
            TaktlineError: pyarrow is not installed.
            OSError: there is none, or it cannot be reached.
        """
        with self._lock:
            if uri not in self._systems:
                self._systems[uri] = require("pyarrow.fs", "parquet").FileSystem.from_uri(uri)[0]
            return self._systems[uri]

    def close(self) -> None:
        """Closes the archives."""
        for archive in self._zips.values():
            with suppress(OSError):
                archive.close()
        self._zips.clear()


class Place(Protocol):
    """Where a picture's bytes are."""

    def read(self, stores: OpenStores) -> bytes:
        """Reads them.

        Raises:
            OSError: the system cannot read them.
            DataError: they are damaged. The text lacks its subject.
        """


@dataclass(frozen=True, slots=True)
class InFile:
    """In a file of their own."""

    path: str

    def read(self, stores: OpenStores) -> bytes:
        """See `Place`."""
        del stores
        return Path(self.path).read_bytes()


@dataclass(frozen=True, slots=True)
class InZip:
    """In a member of a zip file."""

    path: str
    member: str

    def read(self, stores: OpenStores) -> bytes:
        """See `Place`."""
        try:
            return stores.zip_file(self.path).read(self.member)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:
            # A RuntimeError: it is encrypted, or packed in a way that Python does not know.
            raise DataError(f"cannot be unpacked ({error})") from error
        except OSError as error:
            # bzip2 calls damage so, and the system gives its own errors a number.
            if error.errno is None:
                raise DataError(f"cannot be unpacked ({error})") from error
            raise


@dataclass(frozen=True, slots=True)
class InSlice:
    """In a stretch of a larger file, such as a tar file that is not compressed."""

    path: str
    offset: int
    size: int

    def read(self, stores: OpenStores) -> bytes:
        """See `Place`."""
        del stores
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise OSError(errno.EIO, "it ends early")
        return data


@dataclass(frozen=True, slots=True)
class InStore:
    """In an object of a file system that pyarrow knows, such as S3."""

    uri: str
    path: str

    def read(self, stores: OpenStores) -> bytes:
        """See `Place`."""
        with stores.file_system(self.uri).open_input_stream(self.path) as stream:
            return bytes(stream.read())


@dataclass(frozen=True, slots=True)
class InHand:
    """Here: the store can be read from front to back only."""

    data: bytes

    def read(self, stores: OpenStores) -> bytes:
        """See `Place`."""
        del stores
        return self.data


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Nowhere: it could not be read.

    Attributes:
        why: the reason.
    """

    why: str

    def read(self, stores: OpenStores) -> bytes:
        """See `Place`."""
        del stores
        raise DataError(self.why)


@dataclass(frozen=True, slots=True)
class Picture:
    """A stored picture.

    Attributes:
        key: what it is called, unlike any other: its path, its URI, or its archive and its name within.
        source: the source that it belongs to, as the user named it.
        part: id of the part: the picture's name within its source.
        place: where its bytes are.
    """

    key: str
    source: str
    part: str
    place: Place

    def read(self, stores: OpenStores) -> bytes:
        """Returns the bytes of the picture file.

        Raises:
            DataError: this picture cannot be read, though others of the store may.
            StoreLost: the store is gone.
        """
        try:
            return self.place.read(stores)
        except DataError as error:
            raise DataError(f"{self.part} {error}") from error
        except OSError as error:
            why = error.strerror or str(error)
            if error.errno in _OF_ONE_FILE:
                raise DataError(f"{self.part} cannot be read: {why}") from error
            raise StoreLost(f"{self.source} cannot be read any further: {why} ({self.part})") from error
