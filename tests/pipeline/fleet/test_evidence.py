"""What is more than chance: exact where it can be checked, and rarely wrong about a bundle that is as good."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.fleet.bounds import STOPPED_BY_CHANCE, Bounds, Trial
from pipeline.fleet.evidence import Tally, chance_of


def exactly(before: tuple[int, int], found: tuple[int, int]) -> float:
    """The beta-binomial tail, without anything allowed."""

    def log_beta(a: float, b: float) -> float:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)

    a, b = before[0] + 0.5, before[1] - before[0] + 0.5
    total = found[1]
    return math.fsum(
        math.comb(total, n) * math.exp(log_beta(a + n, b + total - n) - log_beta(a, b))
        for n in range(found[0], total + 1)
    )


@pytest.mark.parametrize(
    ("before", "found"),
    [((20, 1000), (10, 100)), ((0, 500), (3, 50)), ((200, 400), (70, 100)), ((1, 20), (15, 40)), ((0, 0), (30, 30))],
)
def test_the_probability_is_that_of_the_beta_binomial(before: tuple[int, int], found: tuple[int, int]) -> None:
    assert chance_of(before, found, 0.0) == pytest.approx(exactly(before, found), rel=1e-3)


def test_a_small_sample_and_an_unknown_line_say_little() -> None:
    assert chance_of((20, 1000), (2, 5), 0.02) > 1e-3
    assert chance_of((0, 0), (40, 200), 0.02) > 0.1
    assert chance_of((20, 1000), (60, 200), 0.02) < 1e-15
    # What is allowed is allowed.
    assert chance_of((20, 1000), (12, 200), 0.1) == 1.0


def status(tally: Tally, bundle: str = "new") -> dict[str, object]:
    counts = {"ok": tally.ok, "ng": tally.ng, "late": tally.uninspected}
    return {"bundle": bundle, "live": True, "cameras": {"a": {"verdicts": counts}}}


def test_a_bundle_that_is_as_good_is_stopped_by_chance_as_rarely_as_is_said() -> None:
    """Four hundred roll-outs to thirty lines, with nothing allowed: more than the rule ever has to bear."""
    random, bounds = np.random.default_rng(3), Bounds(parts=200, max_ng=0.0)
    stopped = 0
    for _ in range(400):
        for share in random.uniform(0.0, 0.1, 30):
            known = int(random.integers(100, 5000))
            bad = int(random.binomial(known, share))
            start = Tally(known - bad, bad)
            trial = Trial(status(start, "old"), status(start), bounds, 30)
            passes, ng = random.random(200) < share, 0
            why = None
            for look in bounds.looks():
                ng = int(passes[:look].sum())
                why = why or trial.look(status(Tally(start.ok + look - ng, start.ng + ng)))
            if why is not None:
                stopped += 1
                break
    assert stopped <= 400 * STOPPED_BY_CHANCE


def test_a_line_that_starts_anew_counts_from_nothing() -> None:
    assert Tally(5, 1, 0).since(Tally(100, 2, 0)) == Tally(5, 1, 0)
    assert Tally(105, 3, 1).since(Tally(100, 2, 0)) == Tally(5, 1, 1)


def test_drift_stops_it_but_a_share_of_rejected_parts_is_held_against_that_before() -> None:
    def drifting(*quantities: str) -> dict[str, object]:
        moved = [{"quantity": quantity, "words": f"{quantity} is other"} for quantity in quantities]
        return status(Tally(10, 10)) | {"drift": {"cameras": {"top": {"moved": moved}}}}

    before = status(Tally(1000, 1000), "old")
    trial = Trial(before, status(Tally()), Bounds(), 2)
    assert trial.look(drifting("rejection")) is None
    found = trial.look(drifting("rejection", "sharpness"))
    assert found is not None and "sharpness is other at camera top" in found and "rejection" not in found
