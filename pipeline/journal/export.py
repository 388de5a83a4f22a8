"""Exports a journal for other programs: as CSV, JSON Lines or Parquet, or its pictures as a zip file."""

from __future__ import annotations

import csv
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from engines.errors import ConfigError, TaktlineError
from engines.extras import require
from engines.files import as_text, replacing
from pipeline.journal.pictures import heatmap_path
from pipeline.journal.search import Found

_ROWS = 5_000
COLUMNS = (
    "captured_at", "line", "camera", "sequence", "verdict", "reason", "score", "threshold", "part", "regions",
    "queue_ns", "infer_ns", "decide_ns", "publish_ns", "engine", "precision", "exact", "bundle", "epoch",
    "journaled", "picture", "label", "label_by", "label_at", "label_note",
)  # fmt: skip
_MOMENTS = ("captured_at", "label_at")

Row = dict[str, Any]


def flat_row(found: Found) -> Row:
    """Returns a verdict as one row of a table: times in UTC, regions as JSON."""
    verdict, latency, label = found.verdict, found.verdict.latency, found.verdict.label
    values = verdict.to_json() | {
        "captured_at": _utc(verdict.captured_at),
        "regions": json.dumps(verdict.to_json()["regions"]),
        "queue_ns": latency.queue,
        "infer_ns": latency.infer,
        "decide_ns": latency.decide,
        "publish_ns": latency.publish,
        "picture": None if found.picture is None else str(found.picture),
        "label": None if label is None else label.label,
        "label_by": None if label is None else label.by,
        "label_at": None if label is None else _utc(label.at),
        "label_note": None if label is None else label.note,
    }
    return {name: values[name] for name in COLUMNS}


def export(found: Iterable[Found], path: Path) -> int:
    """Writes verdicts to a .csv, .jsonl or .parquet file, or pictures to a .zip; the file appears whole or not at all.

    Returns:
        The number of verdicts written or, for a .zip, of pictures.

    Raises:
        ConfigError: the file's name has another ending.
        TaktlineError: it cannot be written, or a package for it is missing.
    """
    kinds: dict[str, Callable[[Iterable[Found], IO[bytes]], int]] = {
        ".csv": _write_csv,
        ".jsonl": _write_json_lines,
        ".parquet": _write_parquet,
        ".zip": _write_zip,
    }
    write = kinds.get(path.suffix.lower())
    if write is None:
        raise ConfigError(f"'{path.name}' has no known ending; give a name that ends with {', '.join(kinds)}")
    try:
        with replacing(path) as file:
            return write(found, file)
    except OSError as error:
        raise TaktlineError(f"{path} cannot be written: {error.strerror or error}") from error


def _write_csv(found: Iterable[Found], file: IO[bytes]) -> int:
    count = 0
    with as_text(file) as text:
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        for one in found:
            writer.writerow(flat_row(one))
            count += 1
    return count


def _write_json_lines(found: Iterable[Found], file: IO[bytes]) -> int:
    count = 0
    with as_text(file) as text:
        for one in found:
            picture = None if one.picture is None else str(one.picture)
            text.write(json.dumps(one.verdict.to_json() | {"picture": picture}) + "\n")
            count += 1
    return count


def _write_parquet(found: Iterable[Found], file: IO[bytes]) -> int:
    pa, pq = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    kinds = dict.fromkeys((name for name in COLUMNS if name.endswith("_ns")), pa.int64())
    kinds |= dict.fromkeys(_MOMENTS, pa.timestamp("us", "UTC")) | {"sequence": pa.int64()}
    kinds |= {"score": pa.float64(), "threshold": pa.float64(), "exact": pa.bool_(), "journaled": pa.bool_()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    count = 0
    with pq.ParquetWriter(file, schema) as writer:
        for rows in _chunks(flat_row(one) for one in found):
            for row in rows:
                row |= {name: datetime.fromisoformat(row[name]) for name in _MOMENTS if row[name] is not None}
            writer.write_table(pa.Table.from_pylist(rows, schema))
            count += len(rows)
    return count


def _write_zip(found: Iterable[Found], file: IO[bytes]) -> int:
    """Writes the pictures and heatmaps that exist, and a table of their verdicts."""
    count = 0
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, COLUMNS)
    writer.writeheader()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for one in found:
            if one.picture is None:
                continue
            verdict = one.verdict
            name = f"{verdict.camera}/{verdict.sequence:09d}_{verdict.epoch}_{verdict.verdict}"
            try:
                archive.write(one.picture, f"{name}.jpg")
                if heatmap_path(one.picture).is_file():
                    archive.write(heatmap_path(one.picture), f"{name}.heatmap.png")
            except FileNotFoundError:
                # The line has removed it since, because it was too old.
                continue
            writer.writerow(flat_row(one) | {"picture": f"{name}.jpg"})
            count += 1
        archive.writestr("verdicts.csv", table.getvalue())
    return count


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(itertools.islice(rows, _ROWS)):
        yield chunk


def _utc(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="microseconds")
