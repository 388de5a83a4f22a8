"""Metrics of a classifier, with numpy alone: confusion matrix, precision, recall, F1, AUROC."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Confusion:
    """How verdicts agree with labels; defective is positive.

    Attributes:
        tp: defective parts rejected.
        fp: good parts rejected (false alarms).
        fn: defective parts accepted (misses).
        tn: good parts accepted.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, defective: npt.NDArray[np.bool_], rejected: npt.NDArray[np.bool_]) -> Confusion:
        """Counts labels against verdicts, both bool `[N]`."""
        return cls(
            tp=int((defective & rejected).sum()),
            fp=int((~defective & rejected).sum()),
            fn=int((defective & ~rejected).sum()),
            tn=int((~defective & ~rejected).sum()),
        )

    @property
    def accuracy(self) -> float | None:
        """Share of parts that were judged correctly."""
        return _share(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def precision(self) -> float | None:
        """Share of rejected parts that are defective; None if nothing was rejected."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Share of defective parts that were rejected; None without defective parts."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None if nothing is defective and nothing was rejected."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def false_alarm_rate(self) -> float | None:
        """Share of good parts that were rejected; None without good parts."""
        return _share(self.fp, self.fp + self.tn)

    def to_json(self) -> dict[str, int]:
        """Returns the four counts by name."""
        return asdict(self)


def auroc(scores: npt.NDArray[np.float64], defective: npt.NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: the probability that a defective part scores above a good one (Hanley, McNeil 1982).

    Args:
        scores: float64 `[N]`; ties count one half.
        defective: bool `[N]`.

    Returns:
        None unless there are both good and defective parts.
    """
    positives, negatives = int(defective.sum()), int((~defective).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float((ranks[defective].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
