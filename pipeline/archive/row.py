"""What is found about a stored picture: a row of the table of results."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from engines.files import save
from pipeline.archive.picture import Picture
from pipeline.protocol.verdict import Verdict

# Plain values by column.
Row = dict[str, Any]

COLUMNS = (
    "picture", "source", "part", "verdict", "reason", "fault", "score", "threshold", "regions", "width", "height",
    "engine", "precision", "exact", "bundle", "heatmap",
)  # fmt: skip
# Besides its columns, a row may carry its picture with the heatmap over it, as PNG, until that is stored; and two small
# pictures, as JPEG in base64, until the report is written.
OVERLAY, TILES = "overlay", "tiles"


def make_row(picture: Picture, verdict: Verdict, shape: tuple[int, int] | None, fault: str | None) -> Row:
    """Returns a row.

    Args:
        picture: the picture.
        verdict: its verdict.
        shape: height and width in pixels; None if it could not be decoded.
        fault: what is wrong with it; None for nothing.
    """
    values = verdict.to_json() | {
        "picture": picture.key,
        "source": picture.source,
        "part": picture.part,
        "fault": fault,
        "regions": json.dumps(verdict.to_json()["regions"]),
        "width": None if shape is None else shape[1],
        "height": None if shape is None else shape[0],
        "heatmap": None,
    }
    return {name: values[name] for name in COLUMNS}


def store_overlay(row: Row, folder: Path | None) -> None:
    """Stores the picture that a row carries, and enters its path.

    Raises:
        DataError: it cannot be written.
    """
    overlay: bytes | None = row.pop(OVERLAY, None)
    if overlay is not None and folder is not None:
        stem = PurePosixPath(row["part"]).stem[:80]
        plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem)
        # Many parts of many sources have the same name.
        path = folder / f"{plain}_{blake2b(row['picture'].encode(), digest_size=6).hexdigest()}.png"
        save(path, overlay, "make room")
        row["heatmap"] = str(path)
