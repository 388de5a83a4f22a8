"""Thresholds: from good parts only, with the false alarms that they promise and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve

from calibration.costs import cheapest
from calibration.prediction import rejected_interval
from calibration.tail import TAIL_SHARE, fit_tail
from engines.errors import ConfigError, DataError
from engines.manifest import Threshold, ThresholdTail
from engines.threshold_rule import LABELLED_RULES, Rule

DEFAULT_SIGMA = 2.0
DEFAULT_RATE = 0.01
_MOST_RATE = 0.5

Scores = npt.NDArray[np.float64]


def choose_threshold(
    rule: Rule,
    parameter: float | None,
    normals: Sequence[float],
    labelled: tuple[Scores, npt.NDArray[np.bool_]] | None = None,
) -> Threshold:
    """Chooses a threshold.

    Args:
        rule: `sigma` (mean + parameter standard deviations of good parts), `false-alarm-rate` (the score that at most
            a share `parameter` of good parts passes), `f1` (the best F1 on a labelled test split) or `cost` (the least
            cost there, where a missed defect costs as much as `parameter` false alarms).
        parameter: see `rule`; None for its default (2, or 0.01; `cost` has none).
        normals: scores of held-out good parts in sigma, on which the promised false alarms rest whatever the rule.
        labelled: for `f1` and `cost`: scores `[N]` and whether each part is defective.

    Raises:
        ConfigError: the parameter makes no sense for the rule.
        DataError: `f1` or `cost` without good and defective parts.
    """
    scores = np.sort(np.asarray(normals, np.float64))
    parameter = check_parameter(rule, parameter)
    if rule == "sigma":
        assert parameter is not None
        value = parameter
    elif rule == "false-alarm-rate":
        assert parameter is not None
        value = score_at_rate(scores, parameter)
    else:
        value = _best_on_defects(rule, parameter, labelled)
    low, high = false_alarm_interval(scores, value)
    expected = min(max(expected_rate(scores, value), low), high)
    return Threshold(
        value=value,
        rule=rule,
        parameter=parameter,
        samples=len(scores),
        tuned_on_defects=rule in LABELLED_RULES,
        false_alarms_per_1000=round(1000 * expected, 2),
        interval_per_1000=(round(1000 * low, 2), round(1000 * high, 2)),
        tail=_describe_tail(scores, value, parameter if rule == "false-alarm-rate" else None),
        warning=_warning(rule, parameter, len(scores)),
    )


def check_parameter(rule: Rule, parameter: float | None) -> float | None:
    """Returns a rule's parameter, or its default.

    Raises:
        ConfigError: it makes no sense for the rule.
    """
    if rule == "sigma":
        parameter = DEFAULT_SIGMA if parameter is None else parameter
        if not math.isfinite(parameter):
            raise ConfigError(f"the threshold is {parameter}; give a number of sigma, such as 2")
    elif rule == "false-alarm-rate":
        parameter = DEFAULT_RATE if parameter is None else parameter
        if not 0 < parameter < _MOST_RATE:
            raise ConfigError(
                f"the false-alarm rate is {parameter:g}; give a share above 0 and below {_MOST_RATE}, such as 0.01"
            )
    elif rule == "cost":
        if parameter is None or not 0 < parameter < math.inf:
            raise ConfigError(
                "the rule cost needs what one missed defect costs in false alarms, such as --miss-costs 50"
            )
    elif parameter is not None:
        raise ConfigError("the rule f1 takes no value: it looks for the best one")
    return parameter


def score_at_rate(scores: Scores, rate: float) -> float:
    """Returns the score that a share `rate` of good parts passes: counted, or in the highest quarter from the tail.

    Args:
        scores: of held-out good parts, sorted, `[N]`.
        rate: between 0 and 0.5.
    """
    if rate >= TAIL_SHARE:
        return float(np.quantile(scores, 1 - rate, method="higher"))
    return fit_tail(scores).score(rate)


def expected_rate(scores: Scores, threshold: float) -> float:
    """Returns the share of good parts that is expected above a threshold: the inverse of `score_at_rate`."""
    tail = fit_tail(scores)
    return tail.rate(threshold) if threshold >= tail.base else float((scores > threshold).mean())


def false_alarm_interval(scores: Scores, threshold: float) -> tuple[float, float]:
    """Returns the 99 % prediction interval of the share above a threshold among the next 100 good parts.

    See `rejected_interval`. It only counts: that the held-out parts also stopped the training, and gave mean and
    standard deviation, is not in it.
    """
    return rejected_interval(int((scores > threshold).sum()), len(scores))


def _describe_tail(scores: Scores, threshold: float, rate: float | None) -> ThresholdTail | None:
    """Describes the tail that a threshold's false alarms are read from; None where they were counted."""
    tail = fit_tail(scores)
    if threshold < tail.base:
        return None
    low, high = (round(1000 * bound, 2) for bound in tail.rate_interval(threshold))
    return ThresholdTail(
        parts=tail.parts,
        base=tail.base,
        shape=tail.shape,
        interval_per_1000=(low, high),
        value_interval=None if rate is None else tail.score_interval(rate),
    )


def _best_on_defects(
    rule: Rule, parameter: float | None, labelled: tuple[Scores, npt.NDArray[np.bool_]] | None
) -> float:
    if labelled is None or not labelled[1].any() or labelled[1].all():
        raise DataError(f"the rule {rule} needs a test split with good and defective parts; give one, or another rule")
    if rule == "cost":
        assert parameter is not None
        return cheapest(*labelled, parameter).threshold
    scores, defective = labelled
    precision, recall, thresholds = precision_recall_curve(defective, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = float(thresholds[int(np.argmax(f1[:-1]))])
    # Halfway to the next lower score: `score > threshold` must keep the part that sets it.
    below = scores[scores < best]
    return (best + float(below.max())) / 2 if len(below) else best - 1e-6


def _warning(rule: Rule, parameter: float | None, count: int) -> str | None:
    if rule in LABELLED_RULES:
        return "this threshold was tuned on defects: it suits the defects that are known, and maybe no others"
    if rule == "false-alarm-rate" and parameter is not None and parameter * count < 3:
        # The rule of three: with none in n seen, up to 3 / n may still be there.
        return (
            f"{count} held-out good parts cannot support a false-alarm rate of {parameter:g}; it is extrapolated, and "
            f"about {math.ceil(3 / parameter)} would be needed"
        )
    if count < 30:
        return f"{count} held-out good parts give a rough threshold; calibrate on more"
    return None
