"""The tail of good parts' scores: how many lie above a score that few or none of the held-out ones reached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import beta

# The highest quarter of the held-out parts is the tail.
TAIL_SHARE = 0.25
CONFIDENCE = 0.95
_SHAPES = np.linspace(-0.6, 0.6, 41)
_SHAPE_STD = 0.2
_LOG_SCALES = np.linspace(-1.5, 1.5, 41)
_LEAST_EXCESS = 1e-6
_LEAST_WEIGHT = 1e-6
_LEAST_SHAPE = 1e-6
_DRAWS = 4000

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tail:
    """A generalised Pareto tail, as a grid of shapes and scales with what each is worth.

    Attributes:
        base: the score above which the tail begins.
        parts: held-out parts in the tail.
        total: all held-out parts.
        shapes: `[n]`; negative for a tail that ends, 0 for an exponential one, positive for a heavy one.
        scales: `[n]`.
        weights: how likely each pair of shape and scale is, `[n]`; they sum to 1.
    """

    base: float
    parts: int
    total: int
    shapes: Array
    scales: Array
    weights: Array

    @property
    def shape(self) -> float:
        """The expected shape."""
        return float(self.weights @ self.shapes)

    @property
    def share(self) -> float:
        """The share of good parts that is expected in the tail (Jeffreys' prior)."""
        return (self.parts + 0.5) / (self.total + 1)

    def rate(self, score: float) -> float:
        """Returns how likely the next good part lies above a score; `base` counts for lower ones."""
        return self.share * float(self.weights @ _survival((score - self.base) / self.scales, self.shapes))

    def score(self, rate: float) -> float:
        """Returns the score that the next good part passes with a probability: the inverse of `rate`."""
        if rate >= self.share:
            return self.base
        reach = float(self.scales.max())
        while self.rate(self.base + reach) > rate:
            reach *= 2
        return float(brentq(lambda score: self.rate(score) - rate, self.base, self.base + reach, xtol=1e-9))

    def rate_interval(self, score: float) -> tuple[float, float]:
        """Returns the 95 % credible interval of the share of good parts above a score in the long run."""
        share, shapes, scales = self._draw()
        return _interval(share * _survival((score - self.base) / scales, shapes))

    def score_interval(self, rate: float) -> tuple[float, float]:
        """Returns the 95 % credible interval of the score that a share `rate` of good parts passes in the long run."""
        share, shapes, scales = self._draw()
        fold = np.log(np.maximum(share / rate, 1.0))
        flat = np.abs(shapes) < _LEAST_SHAPE
        bent = np.where(flat, 1.0, shapes)
        return _interval(self.base + scales * np.where(flat, fold, np.expm1(bent * fold) / bent))

    def _draw(self) -> tuple[Array, Array, Array]:
        """Draws shares, shapes and scales as likely as they are; always the same ones."""
        rng = np.random.default_rng(0)
        picks = rng.choice(len(self.weights), _DRAWS, p=self.weights)
        share = beta(self.parts + 0.5, self.total - self.parts + 0.5).rvs(_DRAWS, random_state=rng)
        return share, self.shapes[picks], self.scales[picks]


def fit_tail(scores: Array) -> Tail:
    """Fits a generalised Pareto tail to the highest quarter of scores (peaks over threshold, Pickands 1975).

    Bayesian, over a grid: the shape is 0 with a standard deviation of 0.2 before the scores are seen, and any scale is
    as likely as another. A rate is then the probability that the next part lies above a score, averaged over all tails
    that explain the held-out ones, so that few parts give a higher threshold and not a bolder one.

    Chosen by simulation over normal, Gumbel, gamma, log-normal, Student's t with 4 degrees, uniform and beta scores.
    For a wanted false-alarm rate of 0.01, the true one over the wanted one, mean over 150 draws, lowest to highest of
    the five distributions that do not end:

        held-out parts                     50            100           200
        this                               0.6 to 1.2    0.8 to 1.1    0.8 to 1.0
        its most likely tail alone         1.4 to 1.9    1.2 to 1.6    1.1 to 1.2
        exponential tail                   1.0 to 1.7    0.8 to 1.4    0.6 to 1.2
        probability-weighted moments       1.7 to 2.0    1.4 to 1.6    1.2 to 1.3
        maximum likelihood                 2.0 to 2.6    1.4 to 1.8    1.1 to 1.3

    The 95 % intervals held the truth in 91 to 99 of 100 draws. For scores that end (uniform, beta) it is too careful: 0
    to 0.6.

    Args:
        scores: of held-out good parts, `[n]`.
    """
    base = float(np.quantile(scores, 1 - TAIL_SHARE))
    above = scores[scores > base] - base
    excess = np.maximum(above, _LEAST_EXCESS) if len(above) else np.array([_LEAST_EXCESS])
    shapes, scales = (grid.ravel() for grid in np.meshgrid(_SHAPES, np.exp(_LOG_SCALES) * excess.mean()))
    likely = _log_likelihood(excess, shapes, scales) - (shapes / _SHAPE_STD) ** 2 / 2
    weights = np.exp(likely - likely.max())
    kept = weights > _LEAST_WEIGHT
    weights = weights[kept] / weights[kept].sum()
    return Tail(base, len(above), len(scores), shapes[kept], scales[kept], weights)


def _survival(ratio: Array, shapes: Array) -> Array:
    """Returns the share of a tail above `ratio` scales, for each shape."""
    flat = np.abs(shapes) < _LEAST_SHAPE
    bent = np.where(flat, 1.0, shapes)
    ratio = np.maximum(ratio, 0.0)
    inside = 1 + bent * ratio
    logs = np.log(np.where(inside > 0, inside, 1.0))
    return np.where(flat, np.exp(-ratio), np.where(inside > 0, np.exp(-logs / bent), 0.0))


def _log_likelihood(excess: Array, shapes: Array, scales: Array) -> Array:
    ratio = excess / scales[:, None]
    flat = np.abs(shapes)[:, None] < _LEAST_SHAPE
    bent = np.where(flat, 1.0, shapes[:, None])
    inside = 1 + bent * ratio
    logs = np.log(np.where(inside > 0, inside, 1.0))
    each = np.where(flat, -ratio, np.where(inside > 0, -(1 / bent + 1) * logs, -np.inf))
    return np.asarray(each.sum(1) - len(excess) * np.log(scales), np.float64)


def _interval(values: Array) -> tuple[float, float]:
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (outside, 1 - outside))
    return float(low), float(high)
