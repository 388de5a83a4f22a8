"""The results of an inspection: kept in small files while it goes on, so that nothing is done twice; then one table.

Each small file appears whole or not at all, and a picture counts as inspected once its row is in one. After a kill or a
power failure, the same command goes on with the pictures that have none.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from engines.closing import Closing, closed_on_error
from engines.errors import ConfigError, DataError
from engines.extras import require
from engines.files import as_text, check_writable, make_folder, replacing, save
from pipeline.archive.row import COLUMNS, TILES, Row

_ROWS, _SECONDS = 1_000, 5.0
_CHUNK = 10_000
_INTEGERS, _NUMBERS = ("width", "height"), ("score", "threshold")


class Results(Closing):
    """Takes rows, and writes the table when all are there.

    Args:
        path: the table: .parquet, .csv or .jsonl.
        plan: what the rows depend on. Rows of another plan are not mixed with these.

    Attributes:
        earlier: rows that were there already.
        kept: rows that are in files.

    Raises:
        ConfigError: the name has another ending, the folder beside it has rows of another plan, or another process is
            writing them.
        DataError: the folder cannot be written, or a package is missing.
    """

    def __init__(self, path: Path, plan: Mapping[str, object]) -> None:
        writers: dict[str, Callable[[Iterator[Row], IO[bytes]], None]] = {
            ".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_json_lines,
        }  # fmt: skip
        if path.suffix.lower() not in writers:
            raise ConfigError(f"'{path.name}' has no known ending; give a name that ends with {', '.join(writers)}")
        if path.suffix.lower() == ".parquet":
            require("pyarrow.parquet", "parquet")
        check_writable(path)
        self.path, self._write_table = path, writers[path.suffix.lower()]
        self._folder = path.with_name(f"{path.name}.parts")
        make_folder(self._folder, "give another --out", error=DataError)
        self._lock: int | None = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        self._locked = False
        self._known: set[bytes] = set()
        self._rows: list[Row] = []
        self._since = time.monotonic()
        with closed_on_error(self):
            self._begin(plan)
            for row in self._stored():
                self._known.add(_digest(row["picture"]))
        self.earlier = self.kept = len(self._known)
        self._number = max((int(part.stem) for part in self._parts()), default=0)

    def claim(self, key: str) -> bool:
        """Returns whether a picture still is to be inspected; from then on it no longer is."""
        digest = _digest(key)
        if digest in self._known:
            return False
        self._known.add(digest)
        return True

    def add(self, row: Row) -> None:
        """Takes a row, and writes those that wait once there are a thousand of them, or after five seconds.

        Raises:
            DataError: they cannot be written.
        """
        self._rows.append(row)
        if len(self._rows) >= _ROWS or time.monotonic() - self._since > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that wait.

        Raises:
            DataError: they cannot be written. They are still waiting then.
        """
        if self._rows:
            data = "".join(json.dumps(row) + "\n" for row in self._rows)
            save(self._folder / f"{self._number + 1:06d}.jsonl", data, "make room")
            self._number += 1
            self.kept += len(self._rows)
            self._rows = []
        self._since = time.monotonic()

    def finish(self) -> Iterator[Row]:
        """Writes the table, then yields every row, and removes the small files at the end.

        Raises:
            DataError: the table cannot be written.
        """
        self.flush()
        try:
            with replacing(self.path) as file:
                self._write_table(self._stored(), file)
        except OSError as error:
            raise DataError(
                f"{self.path} cannot be written: {error.strerror or error}; make room, and give the same command again"
            ) from error
        yield from self._stored()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Lets another process have the folder; an empty one is removed."""
        if self._lock is None:
            return
        # Whoever was refused leaves the folder to the one that writes it.
        if self._locked and not any(self._parts()):
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    def _begin(self, plan: Mapping[str, object]) -> None:
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another process is writing {self.path}; wait for it, or give another --out") from error
        self._locked = True
        place, wanted = self._folder / "plan.json", json.dumps(dict(plan), sort_keys=True)
        if not any(self._parts()):
            save(place, wanted, "give another --out")
        elif not place.is_file() or place.read_text("utf-8") != wanted:
            raise ConfigError(
                f"{self._folder} has results of another bundle or with other options; give those again to go on, give "
                "another --out, or delete that folder"
            )

    def _parts(self) -> Iterator[Path]:
        yield from sorted(self._folder.glob("[0-9]*.jsonl"))

    def _stored(self) -> Iterator[Row]:
        for part in self._parts():
            try:
                with part.open(encoding="utf-8") as lines:
                    yield from map(json.loads, lines)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{part} cannot be read ({error}); delete it, and its pictures are inspected again"
                ) from error


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def _write_csv(rows: Iterator[Row], file: IO[bytes]) -> None:
    with as_text(file) as text:
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _write_json_lines(rows: Iterator[Row], file: IO[bytes]) -> None:
    for row in rows:
        row.pop(TILES, None)
        row["regions"] = json.loads(row["regions"])
        file.write(json.dumps(row).encode() + b"\n")


def _write_parquet(rows: Iterator[Row], file: IO[bytes]) -> None:
    pa, pq = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    kinds: dict[str, Any] = dict.fromkeys(_INTEGERS, pa.int32()) | dict.fromkeys(_NUMBERS, pa.float64())
    schema = pa.schema([(name, kinds.get(name, pa.bool_() if name == "exact" else pa.string())) for name in COLUMNS])
    with pq.ParquetWriter(file, schema) as writer:
        chunk: list[Row] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) == _CHUNK:
                writer.write_table(pa.Table.from_pylist(chunk, schema))
                chunk = []
        writer.write_table(pa.Table.from_pylist(chunk, schema))
