"""Whether so many parts of another kind than before are more than chance.

A line rejects a share of its parts that nobody knows exactly: what it counted is a sample, and so is what it counts
with another bundle. The probability of a count is therefore taken over all shares that what came before makes likely (a
beta distribution, with Jeffreys' prior), each raised by what is allowed. A few parts can hardly be improbable: a small
sample never speaks against a good bundle, and neither does a line of which little is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

_POINTS, _SD = 161, 20.0
_PRIOR = 0.5


@dataclass(frozen=True)
class Tally:
    """What a line counted.

    Attributes:
        ok: parts that are ok.
        ng: parts that are ng.
        uninspected: parts that were not inspected, for whatever reason.
    """

    ok: int = 0
    ng: int = 0
    uninspected: int = 0

    @classmethod
    def of(cls, status: dict[str, Any]) -> Tally:
        """Returns what a line has counted since it started, over all of its cameras."""
        counts = [camera["verdicts"] for camera in status["cameras"].values()]
        ok, ng = (sum(int(one.get(name, 0)) for one in counts) for name in ("ok", "ng"))
        return cls(ok, ng, sum(sum(one.values()) for one in counts) - ok - ng)

    def since(self, before: Tally) -> Tally:
        """Returns what was counted since; all of it if the line has started anew in between."""
        if self.ok < before.ok or self.ng < before.ng or self.uninspected < before.uninspected:
            return self
        return Tally(self.ok - before.ok, self.ng - before.ng, self.uninspected - before.uninspected)

    @property
    def total(self) -> int:
        """Number of parts."""
        return self.ok + self.ng + self.uninspected

    @property
    def inspected(self) -> int:
        """Number of parts that were inspected."""
        return self.ok + self.ng


def chance_of(before: tuple[int, int], found: tuple[int, int], allowed: float) -> float:
    """Returns the probability of at least as many hits as were found, if the share has risen by what is allowed.

    Args:
        before: hits, and parts, that were counted before.
        found: the same now.
        allowed: how much the share may have risen.
    """
    hits, total = found
    first, second = before[0] + _PRIOR, before[1] - before[0] + _PRIOR
    if hits <= total * min(1.0, first / (first + second) + allowed):
        # As expected or fewer: no need for the figure.
        return 1.0
    # Over the logarithm of the odds, where the distribution is smooth even if its shares crowd at 0.
    odds = math.log(first / second) + _SD * math.sqrt(1 / first + 1 / second) * np.linspace(-1, 1, _POINTS)
    logs = -first * np.logaddexp(0, -odds) - second * np.logaddexp(0, odds)
    weights = np.exp(logs - logs.max())
    raised = np.clip(np.exp(-np.logaddexp(0, -odds)) + allowed, 1e-12, 1 - 1e-12)
    counts = np.arange(hits, total + 1)
    ways = np.array([math.lgamma(total + 1) - math.lgamma(n + 1) - math.lgamma(total - n + 1) for n in counts])
    likely = ways[:, None] + counts[:, None] * np.log(raised) + (total - counts)[:, None] * np.log1p(-raised)
    return float(np.clip(np.exp(likely).sum(axis=0) @ weights / weights.sum(), 0.0, 1.0))
