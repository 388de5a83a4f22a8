"""Two bundles over the same pictures: which verdicts differ, and who is right where somebody has said so."""

from __future__ import annotations

import html
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.plain_page import embedded, plain_page
from calibration.progress import Reporter, silent
from engines.bundle import Bundle
from engines.engine import EXACT, Engine
from engines.errors import DataError
from engines.files import save
from engines.image import read_image, resize_frame
from engines.overlay import draw_tiles
from engines.registry import open_engine

BATCH = 8
_MOST_TILES = 200

# Whether a part is rejected: told its score, its heatmap in sigma, and height and width of its picture.
Rejects = Callable[[float, npt.NDArray[np.float32], tuple[int, int]], bool]


@dataclass(frozen=True)
class Candidate:
    """A part to judge.

    Attributes:
        name: what it is called in reports.
        path: its picture; None if it is kept nowhere.
        defective: what it is; None if nobody has said so.
    """

    name: str
    path: Path | None
    defective: bool | None


@dataclass(frozen=True)
class Judged:
    """A part with what a bundle says about it, old and new; scores in each bundle's own sigma.

    Attributes:
        part: the part.
        scores: of the old bundle and the new one.
        rejected: whether each rejects it.
        tiles: a small picture of it, and the same with the heatmap of the bundle that rejects it, as JPEG; None where
            both agree.
    """

    part: Candidate
    scores: tuple[float, float]
    rejected: tuple[bool, bool]
    tiles: tuple[bytes, bytes] | None = None

    @property
    def differs(self) -> bool:
        """Whether the verdicts differ."""
        return self.rejected[0] != self.rejected[1]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, without pictures."""
        truth = {None: None, True: "defective", False: "good"}[self.part.defective]
        old, new = ("ng" if rejected else "ok" for rejected in self.rejected)
        picture = None if self.part.path is None else str(self.part.path)
        return {
            "part": self.part.name, "picture": picture, "truth": truth, "old": old, "new": new,
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
        category: the name of the part.
        bundles: sha256 of the old bundle and the new one, or its first digits.
        parts: in the order given.
        cost_ms: what a part costs the engine of each, in milliseconds; None if that is not known.
        notes: what else is to be said about it, a sentence each.
    """

    category: str
    bundles: tuple[str, str]
    parts: tuple[Judged, ...]
    cost_ms: tuple[float | None, float | None] = (None, None)
    notes: tuple[str, ...] = ()

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

    @property
    def score_shift(self) -> float | None:
        """How much higher scores of the new bundle are on average, each in its own sigma; None without parts."""
        return float(np.mean([new - old for old, new in (one.scores for one in self.parts)])) if self.parts else None

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
            name: {"bundle": self.bundles[which]} | vars(self.tally(which)) | {"cost_ms": self.cost_ms[which]}
            for which, name in enumerate(("old", "new"))
        }
        counts = {"pictures": len(self.parts), "good": self.good, "defective": self.defective}
        found = {"score_shift": self.score_shift, "differing": [one.to_json() for one in self.differing]}
        return counts | tallies | found


def open_exact(bundle: Bundle) -> Engine:
    """Opens a bundle in float32, which is the verdict that every engine gives."""
    return open_engine(bundle, precision=EXACT, max_batch=BATCH, measure=False)


def by_score(bundle: Bundle, threshold: float | None = None) -> Rejects:
    """Rejects by the score alone, above a bundle's threshold or another one."""
    limit = bundle.manifest.threshold.value if threshold is None else threshold

    def rejects(score: float, heat: npt.NDArray[np.float32], shape: tuple[int, int]) -> bool:
        del heat, shape
        # As in a line: a score that is no number is no verdict, and such a part is not accepted.
        return not score <= limit

    return rejects


def compare_bundles(
    old: Bundle,
    new: Bundle,
    parts: Sequence[Candidate],
    report: Reporter = silent,
    *,
    rules: tuple[Rejects, Rejects] | None = None,
    opener: Callable[[Bundle], Engine] = open_exact,
) -> Comparison:
    """Judges parts with two bundles.

    Args:
        old: the first bundle.
        new: the second.
        parts: what to judge; each has a picture.
        report: told how far it is.
        rules: what each rejects; None for what lies above its threshold.
        opener: opens an engine that takes batches of `BATCH`.

    Raises:
        DataError: there are no parts, or a picture cannot be read.
        TaktlineError: an engine failed.
    """
    if not parts:
        raise DataError("there are no pictures to compare with; give a folder that has some, or a journal")
    bundles, judged = (old, new), []
    rejects_of = rules or (by_score(old), by_score(new))
    costs: list[list[float]] = [[], []]
    with ExitStack() as opened:
        engines = [opened.enter_context(opener(bundle)) for bundle in bundles]
        for start in range(0, len(parts), BATCH):
            batch = parts[start : start + BATCH]
            images = [read_image(part.path) for part in batch if part.path is not None]
            found = []
            for engine, bundle, cost in zip(engines, bundles, costs, strict=True):
                frames = np.stack([resize_frame(image, bundle.size) for image in images])
                began = time.perf_counter()
                found.append(engine.infer(frames))
                cost.append(1000 * (time.perf_counter() - began) / len(frames))
            for row, (part, image) in enumerate(zip(batch, images, strict=True)):
                first, second = (float(scores.score[row]) for scores in found)
                heats = [scores.heatmap[row] for scores in found]
                rejects = [rule(score, heat, image.shape[:2])
                           for rule, score, heat in zip(rejects_of, (first, second), heats, strict=True)]  # fmt: skip
                tiles = None
                if rejects[0] != rejects[1]:
                    which = rejects.index(True)
                    tiles = draw_tiles(image, heats[which], bundles[which].manifest.heatmap)
                judged.append(Judged(part, (first, second), (rejects[0], rejects[1]), tiles))
            report("comparing", len(judged), len(parts))
    # The least, because whatever else runs on the machine only adds to it.
    cost_ms = min(costs[0]), min(costs[1])
    return Comparison(new.manifest.category, (old.sha256, new.sha256), tuple(judged), cost_ms)


def write_comparison(path: Path, comparison: Comparison, *others: Comparison) -> None:
    """Writes the report, a self-contained HTML file with the pictures of all verdicts that differ.

    Args:
        path: the file.
        comparison: gives the title.
        others: of the same bundles over other parts, shown below it.

    Raises:
        DataError: the file cannot be written.
    """
    title = f"{comparison.category}: {' and '.join(bundle[:12] for bundle in comparison.bundles)}"
    body = [f"<h1>{html.escape(title)}</h1>"]
    for one in (comparison, *others):
        body += _shown(one)
    save(path, plain_page(title, "\n".join(body)))


def _shown(comparison: Comparison) -> list[str]:
    notes = [f"<p>{html.escape(note)}</p>" for note in comparison.notes]
    body = [f'<p class="sub">{_summary(comparison)}</p>', *notes, _table(comparison)]
    for which, heading in ((1, "Only the new bundle rejects"), (0, "Only the old bundle rejects")):
        shown = [one for one in comparison.differing if one.rejected[which]]
        drawn = [_tile(one, one.tiles) for one in shown[:_MOST_TILES] if one.tiles is not None]
        more = f"<p>and {len(shown) - len(drawn)} more</p>" if len(shown) > len(drawn) else ""
        body += [f"<h2>{heading}: {len(shown)}</h2>", f'<div class="gallery">{"".join(drawn)}</div>{more}']
    return body


def _summary(comparison: Comparison) -> str:
    return (
        f"{len(comparison.parts)} pictures, of which {comparison.good} are known to be good and "
        f"{comparison.defective} to be defective; {len(comparison.differing)} verdicts differ."
    )


def comparison_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Returns the rows of its table: what is counted, for the old bundle, and for the new one."""
    old, new = comparison.tally(0), comparison.tally(1)
    rows = [("rejected", str(old.rejected), str(new.rejected))]
    if comparison.good or comparison.defective:
        rows += [
            (f"false alarms, of {comparison.good} good parts", str(old.false_alarms), str(new.false_alarms)),
            (f"misses, of {comparison.defective} defective parts", str(old.misses), str(new.misses)),
        ]
    if comparison.score_shift is not None:
        means = (np.mean([one.scores[which] for one in comparison.parts]) for which in (0, 1))
        first, second = (f"{mean:.2f}" for mean in means)
        rows.append(("mean score, in its own sigma", first, second))
    first, second = ("?" if cost is None else f"{cost:.1f}" for cost in comparison.cost_ms)
    return [*rows, ("engine, ms a part", first, second)]


def _table(comparison: Comparison) -> str:
    cells = "".join(
        f"<tr><td>{name}</td><td>{first}</td><td>{second}</td></tr>"
        for name, first, second in comparison_rows(comparison)
    )
    return f'<table class="card"><thead><tr><th></th><th>old</th><th>new</th></tr></thead>{cells}</table>'


def _tile(one: Judged, tiles: tuple[bytes, bytes]) -> str:
    picture, overlay = (embedded(tile) for tile in tiles)
    truth = {None: "not labelled", True: "defective", False: "good"}[one.part.defective]
    return (
        f'<figure><img src="{picture}" alt=""><img src="{overlay}" alt="">'
        f"<figcaption>{html.escape(one.part.name)}<br>old {one.scores[0]:.2f}, new {one.scores[1]:.2f}: {truth}"
        "</figcaption></figure>"
    )
