"""Where good parts lie now: what few of them can say, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom

from calibration.drift import each_by_the_others, estimate, stand_out
from calibration.light import better_factor, find_gains, measure_appearance
from calibration.prediction import NEXT_PARTS, expected_share, rejected_interval
from engines.image import Image, multiply


@pytest.mark.parametrize(("count", "most"), [(9, 0.08), (30, 0.04), (100, 0.035)])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (5.0, 1.0), (-2.0, 0.5), (3.0, 2.0)])
def test_next_parts_are_rejected_about_as_often_as_they_should_be(
    count: int, most: float, mean: float, std: float
) -> None:
    """At two sigma 2.3 % of normally distributed parts should be; few pictures cost some more."""
    rng = np.random.default_rng(count)
    shares = []
    for _ in range(300):
        kept = estimate(rng.normal(mean, std, count), 64).kept
        shares.append(np.mean(rng.normal(mean, std, 200) > kept.mean + 2 * kept.std))
    assert np.mean(shares) < most
    # Where parts spread less than before, nine of them are not believed.
    assert np.mean(shares) > (0.0 if std < 1 and count < 30 else 0.002)


def test_noise_is_no_shift_and_a_clear_shift_is_taken() -> None:
    rng = np.random.default_rng(0)
    kept = [estimate(rng.normal(0, 1, 30), 64).kept.mean for _ in range(200)]
    assert np.mean([mean == 0 for mean in kept]) > 0.5
    assert np.std(kept) < 1 / np.sqrt(30)
    shifted = rng.normal(6, 1, 9)
    assert estimate(shifted, 64).kept.mean == pytest.approx(shifted.mean(), rel=0.02)


def test_a_mean_of_exactly_zero_and_equal_scores_are_no_division_by_zero() -> None:
    for values in (np.zeros(9), np.array([-1.0, 1.0] * 5), np.full(9, 3.0)):
        kept = estimate(values, 64).kept
        assert np.isfinite([kept.mean, kept.std]).all()
        assert kept.std > 0


def test_defects_among_good_parts_stand_out_and_good_ones_rarely_do() -> None:
    rng = np.random.default_rng(0)
    for shift in (-3.0, 0.0, 8.0):
        good = rng.normal(shift, 1.2, 30)
        found = stand_out(np.append(good, [shift + 9, shift + 12, shift + 30]))
        assert found[-3:].all()
        assert found[:30].sum() == 0
    assert np.mean([stand_out(rng.normal(0, 1, 30)).any() for _ in range(300)]) < 0.05
    # Half of the pictures at the most can be seen to be others.
    assert stand_out(np.append(rng.normal(0, 1, 20), rng.normal(20, 1, 15)))[20:].all()


def test_each_part_is_judged_by_the_others_alone() -> None:
    values = np.random.default_rng(0).normal(4, 1.5, 30)
    found = each_by_the_others(values, 64)
    others = estimate(np.delete(values, 7), 64).kept
    assert found[7] == pytest.approx((values[7] - others.mean) / others.std)


@pytest.mark.parametrize(("rejected", "total"), [(0, 9), (1, 30), (4, 64), (30, 30), (300, 1000)])
def test_the_prediction_interval_is_that_of_scipy(rejected: int, total: int) -> None:
    ahead = betabinom(NEXT_PARTS, rejected + 0.5, total - rejected + 0.5)
    assert rejected_interval(rejected, total) == tuple(ahead.ppf((0.005, 0.995)) / NEXT_PARTS)
    low, high = rejected_interval(rejected, total)
    assert low <= expected_share(rejected, total) <= high


def test_the_light_is_searched_by_scores_and_left_where_nothing_is_clearly_better() -> None:
    rng = np.random.default_rng(0)
    parts = rng.normal(0, 1, 16)
    true = 1.03
    found = better_factor(lambda factor: parts + 2000 * (factor - true) ** 2 + rng.normal(0, 0.1, 16))
    assert found in (1.02, 1.04)
    assert better_factor(lambda factor: parts + rng.normal(0, 0.5, 16) + 500 * (factor - 1) ** 2) == 1.0


@pytest.mark.parametrize("gains", [(0.8, 0.8, 0.8), (0.9, 1.0, 1.1), (1.0, 1.0, 1.0)])
def test_gains_undo_what_a_lamp_does(gains: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(0)

    def draw(count: int) -> list[Image]:
        levels = 100 * rng.normal(1, 0.01, count)
        return [np.clip(rng.normal(level, 5, (32, 32, 3)), 0, 255).astype(np.uint8) for level in levels]

    appearance = measure_appearance(draw(40))
    _, found = find_gains(appearance, [multiply(image, gains) for image in draw(30)])
    assert found == pytest.approx([1 / gain for gain in gains], rel=0.012)
    assert measure_appearance([np.zeros((8, 8, 3), np.uint8)] * 2).brightness == (1.0, 1.0, 1.0)
