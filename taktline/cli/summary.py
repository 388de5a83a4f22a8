"""Figures of a run: counts, latencies, and how the verdicts agree with a replay's labels."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calibration.metrics import Confusion, auroc
from pipeline.protocol.verdict import Verdict

_REMEMBERED = 100_000


@dataclass
class RunSummary:
    """Collects the verdicts of a run, and the labels of a replay.

    It keeps latencies and labelled scores only for the last hundred thousand frames, so that its memory stays bounded
    however long a line runs.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    precisions: Counter[str] = field(default_factory=Counter)
    exact: int = 0
    _latencies: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _labelled: deque[tuple[float, bool, bool]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

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

    @property
    def rescored(self) -> float | None:
        """Share of frames scored again in float32; None if all were scored in one precision."""
        from engines.engine import EXACT

        if len(self.precisions) < 2:
            return None
        return self.precisions[EXACT] / self.precisions.total()

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
        confusion = Confusion.of(defective, rejected)
        return {
            "confusion": confusion.to_json(),
            "precision": confusion.precision,
            "recall": confusion.recall,
            "f1": confusion.f1,
            "auroc": auroc(scores, defective),
        }
