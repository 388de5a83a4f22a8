"""Thresholds keep what they promise on good parts that they have not seen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta, gumbel_r, norm
from scipy.stats import t as student
from scipy.stats.distributions import rv_frozen

from calibration.costs import cheapest, cost_curve
from calibration.tail import fit_tail
from calibration.threshold import choose_threshold, expected_rate, false_alarm_interval, score_at_rate
from engines.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
NORMALS = RNG.standard_normal(400)


def test_sigma_is_its_parameter() -> None:
    found = choose_threshold("sigma", 3.0, NORMALS.tolist())
    assert found.value == 3.0
    assert found.rule == "sigma"
    assert not found.tuned_on_defects
    assert found.warning is None
    assert choose_threshold("sigma", None, NORMALS.tolist()).value == 2.0


@pytest.mark.parametrize("rate", [0.3, 0.2, 0.05, 0.01, 0.002])
def test_a_rate_is_kept_on_new_parts(rate: float) -> None:
    """Counted below the tail, extrapolated in it."""
    found = choose_threshold("false-alarm-rate", rate, NORMALS.tolist())
    truth = 0.5 * math.erfc(found.value / math.sqrt(2))
    assert rate / 4 <= truth <= 1.6 * rate
    assert found.parameter == rate
    assert (found.tail is None) == (rate > 0.25)
    if found.tail is not None:
        assert found.tail.interval_per_1000[0] <= 1000 * truth <= found.tail.interval_per_1000[1]
        assert found.tail.value_interval is not None
        low, high = found.tail.value_interval
        assert low < found.value < high


@pytest.mark.parametrize(
    ("kind", "held_out"), [(norm(), 50), (gumbel_r(), 50), (student(4), 50), (gumbel_r(), 200), (beta(2, 2), 100)]
)
def test_the_tail_keeps_its_rate_on_average_and_its_interval_mostly(kind: rv_frozen, held_out: int) -> None:
    """Light, usual and heavy tails, and one that ends, at a rate that none or two of the held-out parts show."""
    rng = np.random.default_rng(0)
    rates, hits = [], 0
    for _ in range(60):
        tail = fit_tail(np.sort(kind.rvs(held_out, random_state=rng)))
        score = tail.score(0.01)
        rates.append(kind.sf(score))
        low, high = tail.rate_interval(score)
        hits += low <= rates[-1] <= high
    assert np.mean(rates) <= 0.015
    assert hits >= 0.85 * 60


def test_a_heavy_tail_asks_for_a_higher_threshold_than_a_light_one() -> None:
    rng = np.random.default_rng(0)
    scores = [np.sort(kind.rvs(200, random_state=rng) / kind.std()) for kind in (beta(2, 2, -0.5), norm(), student(4))]
    tails = [fit_tail(values) for values in scores]
    assert tails[0].shape < -0.1 < tails[1].shape + 0.1 < tails[2].shape + 0.1
    assert tails[0].score(0.002) < tails[1].score(0.002) < tails[2].score(0.002)


@pytest.mark.parametrize("scores", [[1.0] * 10, [0.0, 1.0], [0.0] * 50 + [1e-9]])
def test_scores_without_a_tail_give_a_threshold_too(scores: list[float]) -> None:
    found = choose_threshold("false-alarm-rate", 0.01, scores)
    assert math.isfinite(found.value)
    assert found.value >= max(scores) - 1e-6
    assert found.warning is not None


def test_a_rate_that_the_count_cannot_support_is_warned_of() -> None:
    found = choose_threshold("false-alarm-rate", 0.001, NORMALS[:64].tolist())
    assert found.warning is not None
    assert "64 held-out good parts cannot support" in found.warning
    assert "3000" in found.warning
    assert choose_threshold("false-alarm-rate", 0.05, NORMALS[:64].tolist()).warning is None


def test_the_interval_holds_what_the_next_parts_show() -> None:
    rng = np.random.default_rng(0)
    for total, rate in ((50, 0.03), (100, 0.1), (200, 0.02)):
        hits = 0
        for _ in range(300):
            held_out = np.sort((rng.random(total) < rate).astype(np.float64))
            low, high = false_alarm_interval(held_out, 0.5)
            hits += low <= (rng.random(100) < rate).mean() <= high
        assert hits >= 0.97 * 300


def test_the_interval_narrows_with_more_held_out_parts() -> None:
    few, many = (np.sort(np.concatenate([np.zeros(95 * times), np.ones(5 * times)])) for times in (1, 10))
    (low, high), (lower, upper) = false_alarm_interval(few, 0.5), false_alarm_interval(many, 0.5)
    assert 0 <= low <= lower < 0.05 < upper < high < 0.2
    assert false_alarm_interval(few, 2.0)[0] == 0.0


def test_rate_and_score_are_each_others_inverse() -> None:
    scores = np.sort(NORMALS[:100])
    for rate in (0.2, 0.05, 0.01, 0.001):
        assert expected_rate(scores, score_at_rate(scores, rate)) == pytest.approx(rate)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    truth = 0.5 * math.erfc(2 / math.sqrt(2))
    hits = 0
    for seed in range(300):
        normals = np.random.default_rng(seed).standard_normal(80)
        low, high = choose_threshold("sigma", 2.0, normals.tolist()).interval_per_1000
        hits += low <= 1000 * truth <= high
    assert hits >= 0.98 * 300


def test_f1_finds_the_best_threshold_and_says_what_it_is_worth() -> None:
    scores = np.array([0.0, 0.1, 0.2, 0.9, 1.5, 2.5, 3.0, 4.0])
    defective = np.array([False, False, False, False, True, True, True, True])
    found = choose_threshold("f1", None, NORMALS.tolist(), (scores, defective))
    assert 0.9 < found.value < 1.5
    assert found.tuned_on_defects
    assert found.warning is not None
    assert found.false_alarms_per_1000 == pytest.approx(1000 * np.mean(found.value < NORMALS), rel=0.2)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("false-alarm-rate", 0.0),
        ("false-alarm-rate", 1.0),
        ("sigma", math.nan),
        ("f1", 2.0),
        ("cost", None),
        ("cost", 0.0),
        ("cost", math.inf),
    ],
)
def test_values_that_make_no_sense_are_refused(rule: str, value: float | None) -> None:
    with pytest.raises(ConfigError):
        choose_threshold(rule, value, NORMALS.tolist())  # type: ignore[arg-type]


def test_f1_needs_both_kinds() -> None:
    with pytest.raises(DataError, match="good and defective"):
        choose_threshold("f1", None, [0.0, 1.0], (np.array([1.0, 2.0]), np.array([True, True])))


def test_costs_are_counted_at_every_threshold() -> None:
    scores = np.array([0.0, 1.0, 1.0, 2.0, 3.0])
    defective = np.array([False, False, True, False, True])
    curve = cost_curve(scores, defective)
    assert curve.misses.tolist() == [0, 0, 1, 1, 2]
    assert curve.false_alarms.tolist() == [3, 2, 1, 0, 0]
    for threshold, misses, alarms in zip(curve.thresholds, curve.misses, curve.false_alarms, strict=True):
        assert misses == np.sum(defective & ~(scores > threshold))
        assert alarms == np.sum(~defective & (scores > threshold))


@pytest.mark.parametrize(
    ("miss_costs", "threshold", "misses", "alarms"), [(50, 0.5, 0, 2), (1.5, 2.5, 1, 0), (0.001, 2.5, 1, 0)]
)
def test_dear_misses_lower_the_threshold(miss_costs: float, threshold: float, misses: int, alarms: int) -> None:
    scores = np.array([0.0, 1.0, 1.0, 2.0, 3.0])
    defective = np.array([False, False, True, False, True])
    found = cheapest(scores, defective, miss_costs)
    assert (found.threshold, found.misses, found.false_alarms) == (threshold, misses, alarms)
    chosen = choose_threshold("cost", miss_costs, NORMALS.tolist(), (scores, defective))
    assert (chosen.value, chosen.parameter, chosen.tuned_on_defects) == (threshold, miss_costs, True)
