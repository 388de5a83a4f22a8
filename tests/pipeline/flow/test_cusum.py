"""The sequential test: it is wrong as rarely as it says, tells soon what matters, since when, and when it is over."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.flow.cusum import BLOCK, Change, Cusum, limit


def feed(test: Cusum[int], values: np.ndarray, start: int = 0) -> list[tuple[int, Change[int]]]:
    """Feeds values whose marks count on, and returns what was said with which."""
    said = [(start + index, test.add(float(value), start + index)) for index, value in enumerate(values)]
    return [(mark, change) for mark, change in said if change is not None]


def test_the_false_alarm_rate_is_the_stated_one_even_if_parts_of_a_block_are_equal() -> None:
    rng, stated, lengths = np.random.default_rng(0), 300 * BLOCK, []
    for _ in range(150):
        test, count = Cusum[int](stated), 0
        while not feed(test, np.repeat(rng.normal(), BLOCK), count):
            count += BLOCK
        lengths.append(count + BLOCK)
    # The standard error of the mean of 150 exponential times is 8 %.
    assert 0.75 * stated < np.mean(lengths) < 1.3 * stated


def test_independent_parts_raise_far_fewer() -> None:
    test = Cusum[int](10_000)
    assert feed(test, np.random.default_rng(1).normal(size=100_000)) == []


@pytest.mark.parametrize(("shift", "most"), [(1.5, 90), (-2.0, 60), (4.0, 25), (-9.0, 20)])
def test_it_tells_which_way_how_far_and_since_when(shift: float, most: int) -> None:
    rng = np.random.default_rng(2)
    test = Cusum[int](1_000_000)
    assert feed(test, rng.normal(size=500)) == []
    ((told, change), *_) = feed(test, rng.normal(shift, 1, size=300), 500)
    assert change.kind == "moved"
    assert told - 500 < most
    assert abs(change.since - 500) <= 3 * BLOCK
    assert change.level == pytest.approx(shift, abs=0.8)
    assert test.moved == np.sign(shift)
    assert test.level == pytest.approx(shift, abs=0.8)


def test_it_says_when_it_is_over_and_is_as_good_as_new() -> None:
    rng = np.random.default_rng(3)
    test = Cusum[int](1_000_000)
    feed(test, rng.normal(3, 1, size=200))
    assert test.moved == 1
    said = feed(test, rng.normal(size=300), 200)
    assert [change.kind for _, change in said] == ["returned"]
    assert said[0][0] < 300
    assert abs(said[0][1].since - 200) <= 3 * BLOCK
    assert test.moved == 0 and test.since is None
    assert [change.kind for _, change in feed(test, rng.normal(-3, 1, size=100), 500)] == ["moved"]


def test_it_says_when_it_has_become_much_worse() -> None:
    test = Cusum[int](1_000_000)
    said = feed(test, np.random.default_rng(4).normal(np.repeat([2.0, 8.0], 200), 1))
    assert [change.kind for _, change in said] == ["moved", "further"]
    assert said[1][1].level == pytest.approx(8, abs=3)
    assert said[1][1].since == said[0][1].since


def test_one_odd_part_says_nothing() -> None:
    values = np.zeros(1000)
    values[::50] = 1e6
    assert feed(Cusum[int](1_000), values) == []


def test_rarer_alarms_take_a_higher_limit() -> None:
    assert limit(100) < limit(1000) < limit(100_000) < 20
