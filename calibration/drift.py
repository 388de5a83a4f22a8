"""Where good parts' scores lie now, from few of them: shrunk towards where they lay, and without those that stand out.

All values are in sigma of the bundle as it is, so good parts were at mean 0 with standard deviation 1 when it was made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.adaptation import Units

# The old spread counts as much as so many good parts of today.
PRIOR_PARTS = 8
# Iglewicz and Hoaglin (1993).
OUTLIER = 3.5
_MAD_TO_STD = 1.4826
_LEAST_STD = 1e-3
_AT_SIGMA = 2.0

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moved:
    """Where good parts lie now.

    Attributes:
        found: mean and standard deviation as they were found.
        kept: the same, shrunk; what becomes of the bundle's sigma units.
    """

    found: Units
    kept: Units


def stand_out(scores: Values) -> npt.NDArray[np.bool_]:
    """Tells which parts look defective among good ones, bool `[n]`.

    A part stands out if it lies 3.5 standard deviations above the median. That is the standard deviation that the
    median distance from the median stands for (so that defects do not widen it), and at least the old one.
    """
    median = np.median(scores)
    spread = max(1.0, _MAD_TO_STD * float(np.median(np.abs(scores - median))))
    return np.asarray(scores > median + OUTLIER * spread)


def estimate(values: Values, known: int) -> Moved:
    """Estimates where good parts lie now.

    Variance: the mean of the old one (1), which counts like 8 parts, and of the one found. Mean: empirical Bayes; of a
    shift as large as noise makes it nothing is taken, of a clear one nearly all (the positive part of James and Stein
    1961). Then the standard deviation is widened by the error of the mean and by its own (Student's t, at two standard
    deviations), so that the threshold holds for the next part and not only for these.

    Args:
        values: one for each part, `[n]`, n > 1.
        known: how many parts the old mean was measured on.
    """
    count, mean = len(values), float(values.mean())
    spread = max(_LEAST_STD, float(values.std(ddof=1)))
    freedom = PRIOR_PARTS + count - 1
    variance = (PRIOR_PARTS + (count - 1) * spread**2) / freedom
    noise = variance / count + 1 / known
    share = max(0.0, 1 - noise / mean**2) if mean else 0.0
    # The first term of the expansion of Student's t (Fisher and Cornish 1960), at 2.
    wider = 1 + (_AT_SIGMA**2 + 1) / (4 * freedom)
    kept = Units(mean=share * mean, std=wider * math.sqrt(variance * (1 + 1 / count)))
    return Moved(Units(mean=mean, std=spread), kept)


def each_by_the_others(values: Values, known: int) -> Values:
    """Returns every part in the units that the other parts give, `[n]`: what a new part would be told."""
    found = np.empty_like(values)
    for index, value in enumerate(values):
        kept = estimate(np.delete(values, index), known).kept
        found[index] = (value - kept.mean) / kept.std
    return found
