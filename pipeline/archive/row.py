"""What is found about a stored picture: a row of the table of results."""

from __future__ import annotations

import json
from typing import Any

from pipeline.archive.picture import Picture
from pipeline.protocol.verdict import Verdict

# Plain values by column; `TILES` is kept until the report is written and is no column.
Row = dict[str, Any]

COLUMNS = (
    "picture", "source", "part", "verdict", "reason", "fault", "score", "threshold", "regions", "width", "height",
    "engine", "precision", "exact", "bundle", "heatmap",
)  # fmt: skip
TILES = "tiles"


def make_row(
    picture: Picture, verdict: Verdict, shape: tuple[int, int] | None, fault: str | None, heatmap: str | None
) -> Row:
    """Returns a row.

    Args:
        picture: the picture.
        verdict: its verdict.
        shape: height and width in pixels; None if it could not be decoded.
        fault: what is wrong with it; None for nothing.
        heatmap: the file that shows its heatmap; None for none.
    """
    values = verdict.to_json() | {
        "picture": picture.key,
        "source": picture.source,
        "part": picture.part,
        "fault": fault,
        "regions": json.dumps(verdict.to_json()["regions"]),
        "width": None if shape is None else shape[1],
        "height": None if shape is None else shape[0],
        "heatmap": heatmap,
    }
    return {name: values[name] for name in COLUMNS}
