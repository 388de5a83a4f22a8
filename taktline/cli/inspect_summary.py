"""What an inspection of stored pictures found: figures, tables and a report."""

from __future__ import annotations

import html
from array import array
from base64 import b64decode
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nlargest
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from engines.bundle import Bundle
from engines.files import save
from pipeline.archive.inspector import SHOWN
from pipeline.archive.row import TILES, Row
from taktline.cli.table import Column, ResultTable

_LISTED = 10


@dataclass
class Inspection:
    """The figures.

    Attributes:
        bundle: the bundle.
        threshold: in sigma.
        pictures: how many were inspected, those of earlier runs included.
        now: how many in this run.
        seconds: how long this run took.
        sources: verdicts by source.
        faults: pictures that could not be inspected, and why.
        scores: all scores in sigma.
        shown: the most conspicuous parts, with small pictures.
    """

    bundle: Bundle
    threshold: float
    pictures: int
    now: int
    seconds: float
    sources: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    scores: array[float] = field(default_factory=lambda: array("f"))
    shown: list[Row] = field(default_factory=list)

    def read(self, rows: Iterable[Row]) -> None:
        """Takes the rows."""
        for row in rows:
            self.sources.setdefault(row["source"], Counter())[row["verdict"]] += 1
            if row["score"] is not None:
                self.scores.append(row["score"])
            if row["verdict"] == "uninspected":
                self.faults.append((row["picture"], row["fault"] or row["reason"]))
            if TILES in row:
                self.shown = nlargest(SHOWN, [*self.shown, row], key=lambda one: float(one["score"]))

    @property
    def verdicts(self) -> Counter[str]:
        """Verdicts of all sources."""
        return sum(self.sources.values(), Counter())

    @property
    def rate(self) -> float:
        """Pictures a second in this run."""
        return self.now / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "pictures": self.pictures,
            "verdicts": {name: self.verdicts[name] for name in ("ok", "ng", "uninspected")},
            "sources": {name: dict(counts) for name, counts in self.sources.items()},
            "uninspected": [{"picture": picture, "fault": fault} for picture, fault in self.faults],
            "bundle": self.bundle.sha256,
            "threshold": self.threshold,
            "inspected_now": self.now,
            "seconds": self.seconds,
            "rate": self.rate,
        }


def inspection_tables(found: Inspection) -> list[RenderableType]:
    """Shows verdicts by source, what could not be inspected, and the rate."""
    table = ResultTable(
        Column("source", left=True), "pictures", "ok", "ng", "uninspected",
        title=f"{found.now} pictures in {found.seconds:.1f} s: {found.rate:.1f} a second",
    )  # fmt: skip
    for cells in _count_rows(found):
        table.add_row(*cells)
    tables: list[RenderableType] = [table]
    if found.faults:
        listed = ResultTable(
            Column("picture", left=True), Column("why", left=True, prose=True), title="could not be inspected"
        )
        for picture, fault in found.faults[:_LISTED]:
            listed.add_row(picture, fault)
        if len(found.faults) > _LISTED:
            listed.add_row(f"and {len(found.faults) - _LISTED} more", "")
        tables.append(listed)
    return tables


def write_inspection(path: Path, found: Inspection) -> None:
    """Writes the report, a self-contained HTML file with the most conspicuous parts.

    Raises:
        DataError: the file cannot be written.
    """
    from calibration.plain_page import embedded, histogram, plain_page

    title = f"{found.bundle.manifest.category}: {found.pictures} stored pictures"
    cells = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in _count_rows(found)
    )
    heads = "".join(f"<th>{name}</th>" for name in ("source", "pictures", "ok", "ng", "uninspected"))
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="sub">bundle {found.bundle.sha256[:12]}, threshold {found.threshold:.2f} sigma</p>',
        f"<table><tr>{heads}</tr>{cells}</table>",
    ]
    if found.scores:
        ends = min(found.scores), max(found.scores)
        # Defects may score so high that the rest would be one bar.
        most = min(ends[1], 4 * max(1.0, found.threshold))
        limits = min(ends[0], found.threshold) - 0.1, max(most, found.threshold) + 0.1
        body.append(histogram("Scores", found.scores, limits, found.threshold))
    if found.shown:
        figures = []
        for row in found.shown:
            picture, overlay = (embedded(b64decode(tile)) for tile in row[TILES])
            name = html.escape(row["part"])
            figures.append(
                f'<figure><img src="{picture}" alt=""><img src="{overlay}" alt="">'
                f"<figcaption>{name}<br>{row['score']:.2f} sigma</figcaption></figure>"
            )
        body.append(f'<h2>Most conspicuous</h2><div class="gallery">{"".join(figures)}</div>')
    if found.faults:
        listed = "".join(f"<li>{html.escape(picture)}: {html.escape(why)}</li>" for picture, why in found.faults[:1000])
        body.append(f"<h2>Could not be inspected</h2><ul>{listed}</ul>")
    save(path, plain_page(title, "\n".join(body)))


def _count_rows(found: Inspection) -> list[tuple[str, ...]]:
    rows = [(name, found.sources[name]) for name in sorted(found.sources)]
    if len(rows) > 1:
        rows.append(("all", found.verdicts))
    return [
        (name, str(counts.total()), *(str(counts[kind]) for kind in ("ok", "ng", "uninspected")))
        for name, counts in rows
    ]
