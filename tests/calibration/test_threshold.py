"""Thresholds keep what they promise on good parts that they have not seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

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


@pytest.mark.parametrize("rate", [0.2, 0.05, 0.01, 0.002])
def test_a_rate_is_kept_on_new_parts(rate: float) -> None:
    """Counted where ten parts lie above it, extrapolated beyond; the tail of a normal score is lighter than assumed."""
    found = choose_threshold("false-alarm-rate", rate, NORMALS.tolist())
    truth = 0.5 * math.erfc(found.value / math.sqrt(2))
    assert truth <= 1.6 * rate
    assert truth >= rate / 12
    assert found.parameter == rate


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
    for rate in (0.05, 0.01, 0.001):
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
    ("rule", "value"), [("false-alarm-rate", 0.0), ("false-alarm-rate", 1.0), ("sigma", math.nan), ("f1", 2.0)]
)
def test_values_that_make_no_sense_are_refused(rule: str, value: float) -> None:
    with pytest.raises(ConfigError):
        choose_threshold(rule, value, NORMALS.tolist())  # type: ignore[arg-type]


def test_f1_needs_both_kinds() -> None:
    with pytest.raises(DataError, match="good and defective"):
        choose_threshold("f1", None, [0.0, 1.0], (np.array([1.0, 2.0]), np.array([True, True])))
