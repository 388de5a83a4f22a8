"""Another light is taken only where good parts look less odd in it by more than chance."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.light import better_factor, brings_closer

PARTS = np.random.default_rng(0).standard_normal(30)


@pytest.mark.parametrize(
    ("before", "after", "closer"),
    [
        (PARTS + 3, PARTS, True),
        (PARTS + 12, PARTS + 6, True),
        (PARTS, PARTS, False),
        # The middle part looks better, others look odd.
        (PARTS + 0.2, 1.7 * PARTS, False),
        # A few of many that are no good parts at all decide nothing.
        (np.r_[PARTS + 3, 40, 50, 60], np.r_[PARTS, 60, 80, 40], True),
        # Better than good is not odd.
        (PARTS - 2, PARTS - 1, False),
        # Chance.
        (PARTS, PARTS[::-1] - 0.05, False),
    ],
)
def test_good_parts_decide_by_more_than_chance(before: np.ndarray, after: np.ndarray, closer: bool) -> None:
    assert brings_closer(before.astype(np.float64), after.astype(np.float64)) is closer


def test_a_factor_counts_only_if_it_helps_by_more_than_chance() -> None:
    assert better_factor(lambda factor: PARTS + 100 * abs(factor - 1.04)) == 1.04
    noise = np.random.default_rng(1)
    assert better_factor(lambda factor: PARTS + (0 if factor == 1 else noise.standard_normal(30))) == 1.0
