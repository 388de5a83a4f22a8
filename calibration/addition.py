"""Parts of a line's journal that a calibration takes besides its data set: good ones to learn from, others to check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from calibration.dataset import GOOD, Dataset, Sample, read_frames
from engines.added import Added
from engines.bundle import Bundle
from engines.engine import EXACT
from engines.image import read_image
from engines.registry import open_engine

MISSED, CONFIRMED = "missed defect", "confirmed defect"
_BATCH = 8
_SAME_ASPECT = 0.02


@dataclass(frozen=True)
class Addition:
    """Pictures of a journal, by what is known about the part.

    Attributes:
        journal: the journal's file name.
        false_alarms: the line rejected it, and a person says that it is good.
        confirmed_good: the line accepted it, and a person says so, too.
        unlabelled: the line accepted it, and nobody said anything.
        missed: the line accepted it, and a person says that it is defective.
        confirmed: the line rejected it, and a person says so, too.
        unlabelled_share: so many of the unlabelled ones are taken, drawn at random.
    """

    journal: str
    false_alarms: Sequence[Path] = field(default=())
    confirmed_good: Sequence[Path] = field(default=())
    unlabelled: Sequence[Path] = field(default=())
    missed: Sequence[Path] = field(default=())
    confirmed: Sequence[Path] = field(default=())
    unlabelled_share: float = 0.5

    def drawn(self, known: int, seed: int) -> Addition:
        """Returns it with as many unlabelled parts as are taken: no more than there are parts known to be good.

        Args:
            known: good parts of the data set.
            seed: seed of the draw.
        """
        known += len(self.false_alarms) + len(self.confirmed_good)
        count = min(known, round(self.unlabelled_share * len(self.unlabelled)))
        picks = np.sort(np.random.default_rng(seed).permutation(len(self.unlabelled))[:count])
        return replace(self, unlabelled=tuple(self.unlabelled[index] for index in picks))

    @property
    def test(self) -> tuple[Sample, ...]:
        """Defective parts to check with."""
        return (*(Sample(path, MISSED) for path in self.missed), *(Sample(path, CONFIRMED) for path in self.confirmed))

    def join(self, dataset: Dataset) -> Dataset:
        """Returns a data set with these parts in it."""
        good = (*self.false_alarms, *self.confirmed_good, *self.unlabelled)
        train = (*dataset.train, *(Sample(path, GOOD) for path in good))
        return replace(dataset, train=train, test=(*dataset.test, *self.test))

    def warnings(self, dataset: Dataset) -> list[str]:
        """Says what these parts cannot support, a sentence each."""
        found = []
        if not self.false_alarms and not self.confirmed_good:
            found.append(
                f"nobody has said of a part in {self.journal} that it is good; what the line accepted looks better "
                "than good parts do, so label false alarms first"
            )
        if not self.missed:
            found.append(
                f"nobody has labelled a missed defect in {self.journal}, so nothing checks whether those are found now"
            )
        pictures = (*self.false_alarms, *self.confirmed_good, *self.unlabelled)
        if pictures:
            (height, width), (old_height, old_width) = (
                read_image(path).shape[:2] for path in (pictures[0], dataset.train[0].path)
            )
            if abs(width / height / (old_width / old_height) - 1) > _SAME_ASPECT:
                found.append(
                    f"pictures in {self.journal} have {width} x {height} pixels and those of {dataset.root} "
                    f"{old_width} x {old_height}: another cut of the part, which the network has to learn as well"
                )
        return found

    def record(self, bundle: Bundle) -> Added:
        """Counts all, and judges with a bundle what is there to check with.

        Raises:
            TaktlineError: a picture cannot be read, or the bundle cannot be opened.
        """
        rejected = _rejected(bundle, self.test)
        found = {kind: sum(said for said, one in zip(rejected, self.test, strict=True) if one.kind == kind)
                 for kind in (MISSED, CONFIRMED)}  # fmt: skip
        return Added(
            journal=self.journal, false_alarms=len(self.false_alarms), confirmed_good=len(self.confirmed_good),
            unlabelled=len(self.unlabelled), missed_defects=len(self.missed), confirmed_defects=len(self.confirmed),
            found_missed=found[MISSED], found_confirmed=found[CONFIRMED],
        )  # fmt: skip


def _rejected(bundle: Bundle, samples: Sequence[Sample]) -> list[bool]:
    if not samples:
        return []
    found: list[bool] = []
    with open_engine(bundle, precision=EXACT, max_batch=_BATCH, measure=False) as engine:
        for start in range(0, len(samples), _BATCH):
            frames = np.stack(list(read_frames(list(samples[start : start + _BATCH]), bundle.size)))
            found += (engine.infer(frames).score > bundle.manifest.threshold.value).tolist()
    return found
