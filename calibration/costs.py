"""What mistakes cost: misses against false alarms over all thresholds, and the threshold where they cost least."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_BEYOND = 1e-6


@dataclass(frozen=True)
class CostCurve:
    """Mistakes on labelled parts at every threshold that tells some of them apart.

    Attributes:
        thresholds: ascending, in sigma, `[n]`; each lies halfway between two scores, the first below and the last above
            all of them.
        misses: defective parts that are not above it, `[n]`.
        false_alarms: good parts that are above it, `[n]`.
    """

    thresholds: npt.NDArray[np.float64]
    misses: npt.NDArray[np.int64]
    false_alarms: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cheapest:
    """The threshold where mistakes on labelled parts cost least.

    Attributes:
        miss_costs: how many false alarms one missed defect costs.
        threshold: in sigma.
        misses: defective parts that are not above it.
        false_alarms: good parts that are above it.
    """

    miss_costs: float
    threshold: float
    misses: int
    false_alarms: int

    def to_json(self) -> dict[str, Any]:
        """Returns the values by name."""
        return asdict(self)


def cost_curve(scores: npt.NDArray[np.float64], defective: npt.NDArray[np.bool_]) -> CostCurve:
    """Counts the mistakes at every threshold.

    Args:
        scores: in sigma, `[N]`.
        defective: bool `[N]`.
    """
    levels = np.unique(scores)
    between = (levels[1:] + levels[:-1]) / 2
    # `score > threshold` rejects; one threshold rejects every part and one none.
    thresholds = np.concatenate([[levels[0] - _BEYOND], between, [levels[-1] + _BEYOND]])
    bad, good = np.sort(scores[defective]), np.sort(scores[~defective])
    return CostCurve(
        thresholds, np.searchsorted(bad, thresholds, "right"), len(good) - np.searchsorted(good, thresholds, "right")
    )


def cheapest(scores: npt.NDArray[np.float64], defective: npt.NDArray[np.bool_], miss_costs: float) -> Cheapest:
    """Finds the threshold where mistakes cost least; of several, the one with the fewest misses.

    Args:
        scores: in sigma, `[N]`.
        defective: bool `[N]`.
        miss_costs: how many false alarms one missed defect costs.
    """
    curve = cost_curve(scores, defective)
    best = int(np.argmin(miss_costs * curve.misses + curve.false_alarms))
    return Cheapest(miss_costs, float(curve.thresholds[best]), int(curve.misses[best]), int(curve.false_alarms[best]))
