"""Figures of a run: verdicts counted, latencies, and how they agree with a replay's ground truth."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.protocol.verdict import Verdict

_REMEMBERED = 100_000


def auroc(scores: npt.NDArray[np.float64], defective: npt.NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: the chance that a defective part scores above a good one (Hanley and McNeil 1982).

    Args:
        scores: `[N]`; ties count one half.
        defective: bool `[N]`.

    Returns:
        None where either kind is missing.
    """
    positives, negatives = int(defective.sum()), int((~defective).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float((ranks[defective].sum() - positives * (positives + 1) / 2) / (positives * negatives))


@dataclass
class RunSummary:
    """Collects the verdicts of a run; labels are given where a replay knows them.

    Latencies are those of the last hundred thousand frames, so that a line that runs for months does not grow.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    precisions: Counter[str] = field(default_factory=Counter)
    exact: int = 0
    _latencies: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _labelled: list[tuple[float, bool, bool]] = field(default_factory=list)

    def add(self, verdict: Verdict, label: str | None) -> None:
        """Counts a verdict; `label` is `good`, the name of a defect, or None."""
        self.outcomes[verdict.verdict] += 1
        if verdict.reason is not None:
            self.reasons[verdict.reason] += 1
        if verdict.score is not None:
            self.precisions[verdict.precision] += 1
            self.exact += int(verdict.exact)
        self._latencies.append(verdict.latency.total)
        if label is not None and verdict.score is not None:
            self._labelled.append((verdict.score, label != "good", verdict.verdict == "ng"))

    def latency_ms(self, quantile: float) -> float:
        """Returns a quantile of the latency from capture to the socket, in milliseconds."""
        return float(np.quantile(self._latencies, quantile)) / 1e6 if self._latencies else 0.0

    def to_json(self) -> dict[str, Any]:
        """Returns all figures as plain values."""
        values: dict[str, Any] = {
            "frames": sum(self.outcomes.values()),
            "verdicts": {name: self.outcomes[name] for name in ("ok", "ng", "uninspected")},
            "reasons": dict(self.reasons),
            "precisions": dict(self.precisions),
            "exact": self.exact,
            "latency_ms": {f"p{round(q * 100)}": round(self.latency_ms(q), 3) for q in (0.5, 0.9, 0.99)},
        }
        if self._labelled:
            values["against_labels"] = self._against_labels()
        return values

    def _against_labels(self) -> dict[str, Any]:
        scores = np.array([row[0] for row in self._labelled], np.float64)
        defective = np.array([row[1] for row in self._labelled])
        rejected = np.array([row[2] for row in self._labelled])
        tp, fp = int((defective & rejected).sum()), int((~defective & rejected).sum())
        fn, tn = int((defective & ~rejected).sum()), int((~defective & ~rejected).sum())
        precision = tp / (tp + fp) if tp + fp else None
        recall = tp / (tp + fn) if tp + fn else None
        return {
            "confusion": {"tp": tp, "fp": fp, "fn": fn, "tn": tn},
            "precision": precision,
            "recall": recall,
            "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None,
            "auroc": auroc(scores, defective),
        }
