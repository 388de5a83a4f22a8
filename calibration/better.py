"""Whether a candidate is better than the bundle that runs: one rule, which says its reason.

Only parts on which the two differ tell them apart. Of the labelled ones, the candidate must be right on so many that a
candidate that is no better would be so only once in two hundred times. Where nobody knows what a miss costs, this is
McNemar's test in its exact form (1947), and the candidate may make neither more misses nor more false alarms. Where the
cost is known, each difference counts what it costs: what only one of them rejects is worth rejecting if it is defective
more often than once in 1 + cost parts.

Labels are wrong now and then. That moves a fair coin nowhere, but it makes dear what is cheap: where a miss costs
twenty false alarms, one good part in twenty that is called defective would pay for the false alarms of all. So the rule
reckons with the worst that five wrong labels in a hundred can do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from calibration.comparison import Comparison, Judged

LEVEL = 0.005
EVERYDAY_LEVEL = 0.05
MISLABELLED = 0.05
LEAST_LABELLED, LEAST_OF_A_KIND = 30, 10
LEAST_EVERYDAY = 100
SLOWER, MOST_OF_PERIOD = 1.1, 0.7
_EQUAL = 1e-9


@dataclass(frozen=True)
class Differences:
    """Parts on which two bundles differ.

    Attributes:
        only_new_good: good parts that only the new one rejects: new false alarms.
        only_new_defective: defective parts that only the new one rejects: misses of the old one.
        only_old_good: good parts that only the old one rejects: false alarms that are gone.
        only_old_defective: defective parts that only the old one rejects: new misses.
    """

    only_new_good: int
    only_new_defective: int
    only_old_good: int
    only_old_defective: int

    @classmethod
    def of(cls, parts: Sequence[Judged]) -> Differences:
        """Counts labelled parts."""

        def count(defective: bool, rejected: tuple[bool, bool]) -> int:
            return sum(one.part.defective is defective and one.rejected == rejected for one in parts)

        new, old = (False, True), (True, False)
        return cls(count(False, new), count(True, new), count(False, old), count(True, old))


@dataclass(frozen=True)
class Pace:
    """How fast the candidate is, in milliseconds a part; None for what is not known.

    Attributes:
        old: of the bundle that runs.
        new: of the candidate.
        period: from one part to the next.
        takt: of the line.
        same_network: whether both have the same network, which needs no measuring.
    """

    old: float | None
    new: float | None
    period: float | None = None
    takt: float | None = None
    same_network: bool = False


@dataclass(frozen=True)
class Answer:
    """Whether to switch, and why.

    Attributes:
        switch: whether the candidate takes the running bundle's place.
        reason: one or two sentences.
        differences: of the labelled parts.
        chance: how often a candidate that is no better would look so good; None if it was not asked.
        miss_costs: how many false alarms a miss costs; None if nobody said so.
    """

    switch: bool
    reason: str
    differences: Differences
    chance: float | None
    miss_costs: float | None

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


def decide(labelled: Comparison, everyday: tuple[int, int, int], pace: Pace, miss_costs: float | None = None) -> Answer:
    """Decides whether a candidate takes the running bundle's place.

    It does if all of this holds; the first that does not is the reason.

    1. At least 30 labelled parts, 10 good and 10 defective ones among them, and 100 parts as they come.
    2. Its engine keeps the pace: it is at most a tenth slower, or needs less than 0.7 of the time between two parts and
       of the takt.
    3. Of the parts as they come, it does not reject significantly more (exact test, 5 %).
    4. On the labelled parts it saves more than it costs (exact test, 0.5 %). Where nobody said what a miss costs, it
       also makes neither more misses nor more false alarms, but for what five wrong labels in a hundred explain.

    Args:
        labelled: both bundles on labelled parts.
        everyday: of parts as they come: those that only the old one rejects, those that only the new one does, and all.
        pace: how fast it is.
        miss_costs: how many false alarms a miss costs.
    """
    found = Differences.of(labelled.parts)
    only_old, only_new, seen = everyday
    good, defective = labelled.good, labelled.defective

    def answer(reason: str, chance: float | None = None, switch: bool = False) -> Answer:
        return Answer(switch, reason, found, chance, miss_costs)

    if not enough_labels(labelled):
        return answer(
            f"Only {good} good and {defective} defective parts are labelled and judged by both; label {LEAST_LABELLED} "
            f"or more, {LEAST_OF_A_KIND} of each kind."
        )
    if seen < LEAST_EVERYDAY:
        return answer(
            f"Only {seen} parts as they come were judged by both, and {LEAST_EVERYDAY} are needed; give --shadow a "
            "larger number, or, without a shadow run, confirm more parts that the line accepted."
        )
    slow = _too_slow(pace)
    if slow is not None:
        return answer(slow)
    if at_least(only_new, only_old + only_new, 0.5) <= EVERYDAY_LEVEL:
        return answer(
            f"Of {seen} parts as they come, {only_new} are rejected by the candidate alone and {only_old} by the "
            "running bundle alone: it rejects significantly more."
        )
    chance = chance_of(found, miss_costs)
    said = (
        f"On {good} good and {defective} defective labelled parts, {found.only_old_good} false alarms and "
        f"{found.only_new_defective} misses are gone, and {found.only_new_good} false alarms and "
        f"{found.only_old_defective} misses are new"
    )
    if miss_costs is None and (worse := _worse_at_something(found)) is not None:
        return answer(f"{said}: {worse}.", chance)
    if chance > LEVEL:
        return answer(f"{said}: a candidate that is no better would look like this {_often(chance)}.", chance)
    return answer(f"{said}: a candidate that is no better would look like this {_often(chance)}.", chance, switch=True)


def enough_labels(labelled: Comparison) -> bool:
    """Returns whether labelled parts can say anything at all."""
    kinds = labelled.good, labelled.defective
    return sum(kinds) >= LEAST_LABELLED and min(kinds) >= LEAST_OF_A_KIND


def chance_of(found: Differences, miss_costs: float | None) -> float:
    """Returns how often a candidate that is no better would save as much as this one did, or more.

    No better may mean two things, and the larger chance counts. Each part on which the two differ might as well have
    been judged the other way round. Or what only one of them rejects is defective just so often that rejecting it saves
    as much as it costs.
    """
    costs = 1.0 if miss_costs is None else miss_costs
    return max(_swapped(found, costs), _worthless(found, costs))


def _swapped(found: Differences, costs: float) -> float:
    """The chance if each difference might as well be the other way round."""
    bad, good = found.only_new_defective + found.only_old_defective, found.only_new_good + found.only_old_good
    saved = costs * (found.only_new_defective - found.only_old_defective) + found.only_old_good - found.only_new_good
    # So many of the good ones must be for it, if so many of the defective ones are.
    least = [math.ceil((saved - costs * (2 * count - bad) + good) / 2 - _EQUAL) for count in range(bad + 1)]
    return min(
        1.0, math.fsum(_exactly(count, bad, 0.5) * at_least(least[count], good, 0.5) for count in range(bad + 1))
    )


def _worthless(found: Differences, costs: float) -> float:
    """The chance if neither is worth rejecting: what only the old one rejects, and what only the new one does."""
    fair = 1 / (1 + costs)
    noisy = fair + MISLABELLED * (1 - 2 * fair)
    first, second = max(fair, noisy), min(fair, noisy)
    news, olds = found.only_new_good + found.only_new_defective, found.only_old_good + found.only_old_defective
    # What a defective part is worth, so that the mean is nothing where the coin is this one.
    gain, loss = (1 - first) / first, (1 - second) / second
    saved = (
        gain * found.only_new_defective - found.only_new_good + found.only_old_good - loss * found.only_old_defective
    )
    total = 0.0
    for defective in range(news + 1):
        left = gain * defective - (news - defective) + olds - saved
        # With so many defective parts at the most among those that only the old one rejects, as much is saved.
        most = math.floor(left / (1 + loss) + _EQUAL)
        if most >= 0:
            total += _exactly(defective, news, first) * (1 - at_least(most + 1, olds, second))
    return min(1.0, total)


def at_least(count: int, of: int, probability: float) -> float:
    """Returns the probability of at least so many successes: the upper tail of the binomial distribution."""
    if count <= 0:
        return 1.0
    return min(1.0, math.fsum(_exactly(number, of, probability) for number in range(count, of + 1)))


def _exactly(count: int, of: int, probability: float) -> float:
    # By logarithms: the coefficients of thousands of parts are beyond any float.
    ways = math.lgamma(of + 1) - math.lgamma(count + 1) - math.lgamma(of - count + 1)
    return math.exp(ways + count * math.log(probability) + (of - count) * math.log1p(-probability))


def _worse_at_something(found: Differences) -> str | None:
    olds, news = found.only_old_good + found.only_old_defective, found.only_new_good + found.only_new_defective
    unit = "which counts as worse while nobody says with --miss-costs what a miss costs"
    if found.only_old_defective - found.only_new_defective > math.floor(MISLABELLED * olds):
        return f"it misses more, {unit}"
    if found.only_new_good - found.only_old_good > math.floor(MISLABELLED * news):
        return f"it raises more false alarms, {unit}"
    return None


def _too_slow(pace: Pace) -> str | None:
    if pace.same_network:
        return None
    if pace.new is None:
        return "It is not known how fast the candidate is."
    if pace.old is not None and pace.new <= SLOWER * pace.old:
        return None
    limits = [limit for limit in (pace.period, pace.takt) if limit is not None]
    if limits and pace.new <= MOST_OF_PERIOD * min(limits):
        return None
    old = "" if pace.old is None else f" and the running one {pace.old:.1f} ms"
    return f"It would not keep the pace: the candidate's engine takes {pace.new:.1f} ms for a part{old}" + (
        f", of {min(limits):.1f} ms." if limits else "."
    )


def _often(chance: float) -> str:
    if chance > 0.1:
        return f"in {chance:.0%} of cases"
    return f"once in {min(10**6, round(1 / max(chance, 1e-6))):,} times"
