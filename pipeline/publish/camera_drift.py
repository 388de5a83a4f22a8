"""What one camera's good parts look like now, against what the bundle knows of them. No threads."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.bundle import Bundle
from engines.look_words import Difference, describe, describe_rejection, describe_score
from engines.looks import QUANTITIES, Quantity
from pipeline.flow.cusum import Change, Cusum
from pipeline.protocol.event import REJECTION, Event
from pipeline.protocol.verdict import Verdict

SCORE = "score"
_OF_VERDICTS = frozenset((SCORE, REJECTION))
_LEAST_SCORES, _LEAST_STD = 5, 0.2


@dataclass(frozen=True)
class Mark:
    """Names a frame.

    Attributes:
        sequence: its number.
        at: when it was captured, wall clock, nanoseconds since 1970 (UTC).
    """

    sequence: int
    at: int


@dataclass(frozen=True)
class Units:
    """What a quantity's values are told in: mean and standard deviation of good parts."""

    mean: float
    std: float


# Of the share of rejected parts. No bundle knows how many parts of a line are defective, so the bounds are wide: up to
# a third is never told for sure.
_USUAL_REJECTION = Units(0.1, 0.3)


class CameraDrift:
    """One test for each quantity of a camera's frames, one for scores of its ok parts, and one for what is rejected.

    Where most good parts suddenly look defective, hardly any ok part is left to tell it.

    Args:
        line: name of the line.
        camera: name of the camera.
        bundle: knows what good parts look like.
        parts_per_alarm: how many parts pass on average until a false alarm of any of the quantities.
    """

    def __init__(self, line: str, camera: str, bundle: Bundle, parts_per_alarm: float) -> None:
        self._line, self._camera, self._bundle = line, camera, bundle
        looks = bundle.manifest.looks
        assert looks is not None
        self._frame = bundle.size
        # The mean of so few parts has an error of its own, and so has their spread (Student's t, at two of them).
        wider = math.sqrt(1 + 1 / looks.samples) * (1 + 5 / (4 * (looks.samples - 1)))
        self._units: dict[str, Units] = {
            name: Units(trait.mean, wider * trait.spread) for name, trait in looks.traits.items()
        }
        self._threshold = math.nan
        self._values_per_alarm = parts_per_alarm * (len(self._units) + 2)
        self._tests: dict[str, Cusum[Mark]] = {name: Cusum(self._values_per_alarm) for name in self._units}
        self._units[REJECTION] = _USUAL_REJECTION
        self._tests[REJECTION] = Cusum(self._values_per_alarm, statistics.fmean)

    def look(self, values: npt.NDArray[np.float64], frame: tuple[int, int], mark: Mark) -> list[Event]:
        """Takes a frame's quantities, and returns what is to be told.

        Args:
            values: in the order of `QUANTITIES`.
            frame: height and width of the camera's frame.
            mark: names the frame.
        """
        self._frame = frame
        measured = zip(QUANTITIES, values.tolist(), strict=True)
        return [event for name, value in measured if name in self._units for event in self._add(name, value, mark)]

    def judge(self, verdict: Verdict) -> list[Event]:
        """Takes the verdict of an inspected part, and returns what is to be told."""
        mark = Mark(verdict.sequence, verdict.captured_at)
        events = self._add(REJECTION, float(verdict.verdict == "ng"), mark)
        if verdict.threshold != self._threshold:
            self._begin_scores(verdict.threshold)
        if verdict.verdict == "ok" and verdict.score is not None and SCORE in self._units:
            events += self._add(SCORE, verdict.score, mark)
        return events

    def restarted(self, mark: Mark) -> list[Event]:
        """Returns an event for each quantity of which was told that it moved: this test has come to its end."""
        return [self._event("restarted", name, test.level, mark, mark) for name, test in self._moved()]

    def status(self) -> dict[str, Any]:
        """Returns how far each quantity lies from that of good parts, and what has moved, in words."""
        moved = []
        for name, test in self._moved():
            found, since = self._difference(name, test.level), test.since
            assert since is not None
            moved.append({
                "quantity": name, "words": found.words, "remedy": found.remedy, "level": round(test.level, 2),
                "amount": round(found.amount, 3), "unit": found.unit, "since_sequence": since.sequence,
                "since_at": since.at,
            })  # fmt: skip
        return {
            "looked_at": max((test.count for name, test in self._tests.items() if name not in _OF_VERDICTS), default=0),
            "levels": {name: round(test.level, 2) for name, test in self._tests.items()},
            "moved": moved,
        }

    def _moved(self) -> list[tuple[str, Cusum[Mark]]]:
        return [(name, test) for name, test in self._tests.items() if test.moved]

    def _begin_scores(self, threshold: float) -> None:
        """Begins to watch scores: what ok parts score on average depends on the threshold."""
        self._threshold = threshold
        known = [score for score in self._bundle.manifest.statistics.scores if score <= threshold]
        self._tests.pop(SCORE, None)
        self._units.pop(SCORE, None)
        if len(known) >= _LEAST_SCORES:
            self._units[SCORE] = Units(statistics.fmean(known), max(_LEAST_STD, statistics.stdev(known)))
            self._tests[SCORE] = Cusum(self._values_per_alarm)

    def _add(self, name: str, value: float, mark: Mark) -> list[Event]:
        units = self._units[name]
        if not math.isfinite(value):
            return []
        change: Change[Mark] | None = self._tests[name].add((value - units.mean) / units.std, mark)
        return [] if change is None else [self._event(change.kind, name, change.level, change.since, mark)]

    def _difference(self, name: str, level: float) -> Difference:
        difference = level * self._units[name].std
        if name == SCORE:
            return describe_score(difference)
        if name == REJECTION:
            return describe_rejection(self._units[name].mean + difference)
        quantity: Quantity = name  # type: ignore[assignment]
        return describe(quantity, difference, self._frame)

    def _event(self, kind: Any, name: str, level: float, since: Mark, mark: Mark) -> Event:
        found = self._difference(name, level)
        away = kind in {"moved", "further"}
        return Event(
            line=self._line, camera=self._camera, kind=kind, quantity=name, words=found.words,
            remedy=found.remedy if away else "", level=level, amount=found.amount, unit=found.unit,
            since_sequence=since.sequence, since_at=since.at, sequence=mark.sequence, at=mark.at, epoch="",
            bundle=self._bundle.short_id,
        )  # fmt: skip
