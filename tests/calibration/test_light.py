"""Another light is taken only where good parts look less odd in it by more than chance."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.light import better_gains, brings_closer, find_gains, measure_appearance

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


def lit(count: int, seed: int, colour: tuple[float, float, float], spread: float) -> list[np.ndarray]:
    """Grey pictures that differ much in brightness, in light of some colour."""
    levels = 60 * np.exp(spread * np.random.default_rng(seed).standard_normal(count))
    return [np.full((8, 8, 3), np.clip(level * np.array(colour), 1, 255).round(), np.uint8) for level in levels]


def test_few_parts_that_differ_in_brightness_still_tell_the_colour_of_the_light() -> None:
    appearance = measure_appearance(lit(18, 0, (1, 1, 1), 0.4))
    colour, _ = find_gains(appearance, lit(30, 1, (0.8, 1.0, 1.25), 0.4))
    assert colour[0] / colour[2] == pytest.approx(1.25 / 0.8, rel=0.03)
    assert np.prod(colour) == pytest.approx(1, rel=0.01), "the colour alone, at the same brightness"
    nothing = find_gains(appearance, lit(30, 2, (1, 1, 1), 0.4))
    assert nothing[0] == pytest.approx((1, 1, 1), abs=0.01)


def test_brightness_is_changed_only_where_parts_look_less_odd_then() -> None:
    colour, whole = (1.1, 1.0, 0.9), (1.4, 1.3, 1.2)
    assert better_gains((colour, whole), lambda gains: PARTS + 30 * abs(gains[1] - 1.0))[1] == pytest.approx(1.0)
    assert better_gains((colour, whole), lambda gains: PARTS + 30 * abs(gains[1] - 1.352))[1] == pytest.approx(1.352)
