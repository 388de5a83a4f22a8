"""One rule says whether a candidate is better: chance and wrong labels must not deploy one that is worse."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from calibration.better import (
    LEVEL,
    Answer,
    Differences,
    Pace,
    at_least,
    chance_of,
    decide,
)
from calibration.comparison import Candidate, Comparison, Judged

SAME = Pace(None, None, same_network=True)
QUIET = (0, 0, 500)


def labelled(rows: Sequence[tuple[bool, bool, bool]]) -> Comparison:
    """Labelled parts: defective, rejected by the old bundle, rejected by the new one."""
    parts = tuple(
        Judged(Candidate(str(number), None, defective), (0.0, 0.0), (old, new))
        for number, (defective, old, new) in enumerate(rows)
    )
    return Comparison("flange", ("old", "new"), parts)


def counts(found: Differences, agree: int = 30) -> Comparison:
    """So many differences, and parts of both kinds on which the two agree."""
    return labelled(
        [(False, False, True)] * found.only_new_good
        + [(True, False, True)] * found.only_new_defective
        + [(False, True, False)] * found.only_old_good
        + [(True, True, False)] * found.only_old_defective
        + [(False, False, False), (True, True, True)] * agree
    )


def test_without_costs_it_is_mcnemars_exact_test() -> None:
    """Against the sum of binomial coefficients, in whole numbers."""
    for better, worse in ((8, 0), (9, 1), (12, 1), (20, 6), (3, 9), (0, 0), (600, 500)):
        number = better + worse
        exact = sum(math.comb(number, count) for count in range(better, number + 1)) / 2**number
        assert at_least(better, number, 0.5) == pytest.approx(exact)
        assert chance_of(Differences(0, 0, better, worse), None) == pytest.approx(exact)
        # Which of the two rejects makes no difference to a fair coin.
        assert chance_of(Differences(worse, better, 0, 0), 1.0) == pytest.approx(exact)
        split = Differences(worse // 2, better // 3, better - better // 3, worse - worse // 2)
        assert chance_of(split, 1.0) == pytest.approx(exact)


def test_with_costs_it_is_the_sum_over_all_outcomes() -> None:
    """Of all coins that a candidate without worth would throw, with five wrong labels in a hundred or turned round."""
    found, costs = Differences(3, 2, 5, 1), 10.0
    fair = 1 / (1 + costs)
    noisy = fair + 0.05 * (1 - 2 * fair)
    gain, loss = (1 - noisy) / noisy, costs

    def saved(defective_new: int, defective_old: int) -> float:
        return gain * defective_new - (5 - defective_new) + (6 - defective_old) - loss * defective_old

    def chance(count: int, of: int, probability: float) -> float:
        return float(math.comb(of, count) * probability**count * (1 - probability) ** (of - count))

    worthless = sum(
        chance(first, 5, noisy) * chance(second, 6, fair)
        for first in range(6)
        for second in range(7)
        if saved(first, second) >= saved(2, 1) - 1e-9
    )
    swapped = sum(
        chance(first, 3, 0.5) * chance(second, 8, 0.5)
        for first in range(4)
        for second in range(9)
        if costs * (2 * first - 3) + 2 * second - 8 >= costs * (2 - 1) + 5 - 3
    )
    assert chance_of(found, costs) == pytest.approx(max(worthless, swapped))
    # Each is the larger one somewhere.
    assert chance_of(Differences(0, 0, 20, 0), costs) == pytest.approx((1 - fair) ** 20)
    assert chance_of(Differences(0, 2, 0, 0), 50.0) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("found", "costs", "switch", "reason"),
    [
        # Eight of eight is the least that convinces.
        (Differences(0, 0, 8, 0), None, True, "once in 256 times"),
        (Differences(0, 0, 7, 0), None, False, "once in 128 times"),
        (Differences(0, 0, 0, 0), None, False, "in 100% of cases"),
        # Many false alarms are gone, and misses are new: only a price for misses can say whether that is worth it.
        (Differences(0, 0, 40, 4), None, False, "it misses more, which counts as worse while nobody says"),
        (Differences(0, 0, 40, 4), 1.0, True, "once in"),
        (Differences(0, 0, 40, 4), 30.0, False, "in 9"),
        # Two misses among forty are what wrong labels explain.
        (Differences(0, 0, 40, 2), None, True, "once in"),
        (Differences(4, 40, 0, 0), None, False, "raises more false alarms"),
        # It rejects far more; of a hundred good parts five are called defective, which pays for nothing.
        (Differences(95, 5, 0, 0), 20.0, False, "in 9"),
        (Differences(95, 5, 0, 0), 500.0, False, "in 6"),
        (Differences(50, 50, 0, 0), 20.0, True, "once in"),
    ],
)  # fmt: skip
def test_what_convinces(found: Differences, costs: float | None, switch: bool, reason: str) -> None:
    answer = decide(counts(found), QUIET, SAME, costs)
    assert answer.switch is switch, answer.reason
    assert reason in answer.reason
    assert (answer.differences, answer.miss_costs) == (found, costs)
    assert answer.chance is not None and (answer.chance <= LEVEL or not switch)


BETTER = Differences(0, 3, 20, 0)


@pytest.mark.parametrize(
    ("comparison", "everyday", "pace", "reason"),
    [
        (counts(BETTER, agree=8), QUIET, SAME, None),
        (counts(Differences(0, 0, 20, 0), agree=9), QUIET, SAME, "Only 29 good and 9 defective parts are labelled"),
        (counts(BETTER), (0, 0, 99), SAME, "Only 99 parts as they come"),
        (counts(BETTER), (0, 4, 500), SAME, None),
        (counts(BETTER), (0, 5, 500), SAME, "it rejects significantly more"),
        (counts(BETTER), (20, 30, 500), SAME, None),
        (counts(BETTER), QUIET, Pace(10, 11), None),
        (counts(BETTER), QUIET, Pace(10, 12), "takes 12.0 ms for a part and the running one 10.0 ms"),
        (counts(BETTER), QUIET, Pace(10, 12, period=20, takt=200), None),
        (counts(BETTER), QUIET, Pace(10, 15, period=20, takt=200), "of 20.0 ms"),
        (counts(BETTER), QUIET, Pace(10, 15, period=500, takt=20), "of 20.0 ms"),
        (counts(BETTER), QUIET, Pace(10, None), "not known how fast"),
    ],
)  # fmt: skip
def test_what_else_must_hold(
    comparison: Comparison, everyday: tuple[int, int, int], pace: Pace, reason: str | None
) -> None:
    """The labels always speak for it."""
    answer = decide(comparison, everyday, pace)
    assert answer.switch is (reason is None), answer.reason
    assert reason is None or reason in answer.reason


# How far good and defective parts lie apart for each bundle, in its sigma, and the thresholds.
OLD = (2.5, 2.0)
WORSE = {
    "a blind network": (1.0, 2.0),
    "a little blinder": (2.1, 2.0),
    "a threshold that is too low": (2.5, 0.5),
    "a threshold that is too high": (2.5, 4.5),
    "nothing is rejected": (2.5, 1e9),
    "all is rejected": (2.5, -1e9),
    "the same, and no better": (2.5, 2.0),
}  # fmt: skip


def trial(seed: int, new: tuple[float, float], costs: float | None) -> Answer:
    """Draws parts of a line, labels with five wrong ones in a hundred, and parts as they come."""
    rng = np.random.default_rng(seed)

    def rejected(defective: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # What a part looks like is the same for both, and how each sees it is its own.
        looks = rng.normal(size=len(defective))
        first, second = (
            0.8 * looks + 0.6 * rng.normal(size=len(defective)) + apart * defective > threshold
            for apart, threshold in (OLD, new)
        )
        return first, second

    truth = rng.random(400) < 0.3
    old_says, new_says = rejected(truth)
    said = truth ^ (rng.random(400) < 0.05)
    everyday = rejected(rng.random(500) < 0.01)
    only_old, only_new = int((everyday[0] & ~everyday[1]).sum()), int((everyday[1] & ~everyday[0]).sum())
    return decide(
        labelled(list(zip(said.tolist(), old_says.tolist(), new_says.tolist(), strict=True))),
        (only_old, only_new, 500), SAME, costs,
    )  # fmt: skip


# With such a price for misses, a threshold that is too low is better.
CHEAPER = {("a threshold that is too low", 10.0), ("a threshold that is too low", 20.0)}
CASES = [(name, costs) for name in WORSE for costs in (None, 1.0, 10.0, 20.0) if (name, costs) not in CHEAPER]


@pytest.mark.parametrize(("worse", "costs"), CASES)
def test_one_that_is_worse_is_never_deployed(worse: str, costs: float | None) -> None:
    """In twenty trials each, with five wrong labels in a hundred."""
    deployed = [answer for seed in range(20) if (answer := trial(seed, WORSE[worse], costs)).switch]
    assert not deployed, deployed[0].reason


@pytest.mark.parametrize("costs", [None, 1.0])
def test_one_that_is_far_better_is_deployed_most_of_the_time(costs: float | None) -> None:
    deployed = sum(trial(seed, (5.0, 2.5), costs).switch for seed in range(20))
    assert deployed >= 16
