"""Two bundles over the same pictures: which verdicts differ, and who is right where somebody has said so."""

from __future__ import annotations

import html
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from calibration.plain_page import embedded, plain_page
from calibration.progress import Reporter, silent
from engines.bundle import Bundle
from engines.engine import EXACT
from engines.errors import DataError
from engines.files import save
from engines.image import Image, read_image, resize_frame
from engines.overlay import draw_overlay
from engines.registry import open_engine

_BATCH = 8
_TILE_PX = 260
_MOST_TILES = 200


@dataclass(frozen=True)
class Candidate:
    """A part to judge.

    Attributes:
        name: what it is called in reports.
        path: its picture.
        defective: what it is; None if nobody has said so.
    """

    name: str
    path: Path
    defective: bool | None


@dataclass(frozen=True)
class Judged:
    """A part with what a bundle says about it, old and new; scores in each bundle's own sigma.

    Attributes:
        part: the part.
        scores: of the old bundle and the new one.
        rejected: whether each rejects it.
        overlay: its picture with the heatmap of the bundle that rejects it; None where both agree.
    """

    part: Candidate
    scores: tuple[float, float]
    rejected: tuple[bool, bool]
    overlay: Image | None = None

    @property
    def differs(self) -> bool:
        """Whether the verdicts differ."""
        return self.rejected[0] != self.rejected[1]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, without the overlay."""
        truth = {None: None, True: "defective", False: "good"}[self.part.defective]
        old, new = ("ng" if rejected else "ok" for rejected in self.rejected)
        return {
            "part": self.part.name, "picture": str(self.part.path), "truth": truth, "old": old, "new": new,
            "old_score": self.scores[0], "new_score": self.scores[1],
        }  # fmt: skip


@dataclass(frozen=True)
class Tally:
    """What a bundle gets right and wrong.

    Attributes:
        rejected: parts that it rejects.
        false_alarms: good parts among them.
        misses: defective parts that it accepts.
    """

    rejected: int
    false_alarms: int
    misses: int


@dataclass(frozen=True)
class Comparison:
    """All parts with both verdicts.

    Attributes:
        old: the old bundle.
        new: the new bundle.
        parts: in the order given.
    """

    old: Bundle
    new: Bundle
    parts: tuple[Judged, ...]

    @property
    def differing(self) -> list[Judged]:
        """Parts whose verdicts differ."""
        return [one for one in self.parts if one.differs]

    @property
    def good(self) -> int:
        """Parts that somebody says are good."""
        return sum(one.part.defective is False for one in self.parts)

    @property
    def defective(self) -> int:
        """Parts that somebody says are defective."""
        return sum(one.part.defective is True for one in self.parts)

    def tally(self, which: int) -> Tally:
        """Counts for the old bundle (0) or the new one (1)."""
        return Tally(
            sum(one.rejected[which] for one in self.parts),
            sum(one.rejected[which] for one in self.parts if one.part.defective is False),
            sum(not one.rejected[which] for one in self.parts if one.part.defective),
        )

    def to_json(self) -> dict[str, Any]:
        """Returns all figures and the verdicts that differ as plain values."""
        tallies = {
            name: {"bundle": bundle.sha256} | vars(self.tally(which))
            for which, (name, bundle) in enumerate((("old", self.old), ("new", self.new)))
        }
        counts = {"pictures": len(self.parts), "good": self.good, "defective": self.defective}
        return counts | tallies | {"differing": [one.to_json() for one in self.differing]}


def compare_bundles(old: Bundle, new: Bundle, parts: Sequence[Candidate], report: Reporter = silent) -> Comparison:
    """Judges parts with two bundles in float32, which is the verdict that every engine gives.

    Args:
        old: the first bundle.
        new: the second.
        parts: what to judge.
        report: told how far it is.

    Raises:
        DataError: there are no parts, or a picture cannot be read.
    """
    if not parts:
        raise DataError("there are no pictures to compare with; give a folder that has some, or a journal")
    bundles, judged = (old, new), []
    with ExitStack() as opened:
        engines = [
            opened.enter_context(open_engine(bundle, precision=EXACT, max_batch=_BATCH, measure=False))
            for bundle in bundles
        ]
        for start in range(0, len(parts), _BATCH):
            batch = parts[start : start + _BATCH]
            images = [read_image(part.path) for part in batch]
            found = [
                engine.infer(np.stack([resize_frame(image, bundle.size) for image in images]))
                for engine, bundle in zip(engines, bundles, strict=True)
            ]
            for row, (part, image) in enumerate(zip(batch, images, strict=True)):
                first, second = (float(scores.score[row]) for scores in found)
                # As in a line: a score that is no number is no verdict, and such a part is not accepted.
                rejects = [not score <= bundle.manifest.threshold.value
                           for score, bundle in zip((first, second), bundles, strict=True)]  # fmt: skip
                overlay = None
                if rejects[0] != rejects[1]:
                    which = rejects.index(True)
                    overlay = _overlay(bundles[which], image, found[which].heatmap[row])
                judged.append(Judged(part, (first, second), (rejects[0], rejects[1]), overlay))
            report("comparing", len(judged), len(parts))
    return Comparison(old, new, tuple(judged))


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the report, a self-contained HTML file with the pictures of all verdicts that differ.

    Raises:
        DataError: the file or a picture cannot be used.
    """
    title = f"{comparison.new.manifest.category}: {comparison.old.short_id} and {comparison.new.short_id}"
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="sub">{_summary(comparison)}</p>', _table(comparison)]
    for which, heading in ((1, "Only the new bundle rejects"), (0, "Only the old bundle rejects")):
        shown = [one for one in comparison.differing if one.rejected[which]]
        tiles = "".join(_tile(one) for one in shown[:_MOST_TILES])
        more = f"<p>and {len(shown) - _MOST_TILES} more</p>" if len(shown) > _MOST_TILES else ""
        body += [f"<h2>{heading}: {len(shown)}</h2>", f'<div class="gallery">{tiles}</div>{more}']
    save(path, plain_page(title, "\n".join(body)))


def _summary(comparison: Comparison) -> str:
    return (
        f"{len(comparison.parts)} pictures, of which {comparison.good} are known to be good and "
        f"{comparison.defective} to be defective; {len(comparison.differing)} verdicts differ."
    )


def _table(comparison: Comparison) -> str:
    old, new = comparison.tally(0), comparison.tally(1)
    rows = [
        ("rejected", old.rejected, new.rejected),
        (f"false alarms, of {comparison.good} good parts", old.false_alarms, new.false_alarms),
        (f"misses, of {comparison.defective} defective parts", old.misses, new.misses),
    ]
    cells = "".join(f"<tr><td>{name}</td><td>{first}</td><td>{second}</td></tr>" for name, first, second in rows)
    return f'<table class="card"><thead><tr><th></th><th>old</th><th>new</th></tr></thead>{cells}</table>'


def _tile(one: Judged) -> str:
    assert one.overlay is not None
    picture = embedded(_shrink(read_image(one.part.path)))
    truth = {None: "not labelled", True: "defective", False: "good"}[one.part.defective]
    return (
        f'<figure><img src="{picture}" alt=""><img src="{embedded(one.overlay)}" alt="">'
        f"<figcaption>{html.escape(one.part.name)}<br>old {one.scores[0]:.2f}, new {one.scores[1]:.2f}: {truth}"
        "</figcaption></figure>"
    )


def _overlay(bundle: Bundle, image: Image, heat: npt.NDArray[np.float32]) -> Image:
    scale = bundle.manifest.heatmap
    return draw_overlay(_shrink(image), heat, scale.threshold, scale.full_scale)


def _shrink(image: Image) -> Image:
    factor = _TILE_PX / max(image.shape[:2])
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
