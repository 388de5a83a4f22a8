"""A day of a line, drawn from a seed: cameras that come and go, an engine that stumbles, clocks that are set.

    python -m tests.simulation.day BUNDLE --seed 7 --rate 100 --hours 24

runs one with the cameras at full rate all day.
"""

from __future__ import annotations

import argparse
import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.bundle import Bundle, open_bundle
from pipeline.config.sections import JournalSection
from pipeline.flow.decided import Decided
from pipeline.journal.store import Journal
from tests.simulation.line import SECOND, Arrival, Outcome, VirtualClock, VirtualEngine, VirtualLine

MS = 1_000_000
HOUR = 3600 * SECOND
NO_PICTURE = b"\xff\xd8 cut off"
# How far the fast score may lie from the exact one, and where good parts' scores lie, in sigma.
_BAND, _SPREAD = 0.4, 1.5
_TOGETHER = 64
_RECOVERY_NS = 60 * SECOND


@dataclass(frozen=True)
class Plan:
    """How much of a day is played.

    Attributes:
        hours: how long.
        rate: frames a second of all cameras together in busy minutes.
        busy: the share of the minutes that are busy; in the others a thousandth of the frames come.
    """

    hours: float = 24.0
    rate: float = 100.0
    busy: float = 0.002


class Day:
    """A line's day. Whatever breaks a promise raises `AssertionError` at the moment at which it does.

    Args:
        bundle: whose threshold the line starts with.
        seed: of all that is drawn.
        journal: a new journal's file; None to go without.
        plan: how much is played.
    """

    def __init__(self, bundle: Bundle, seed: int, journal: Path | None, plan: Plan | None = None) -> None:
        self.plan, self.rng = plan or Plan(), np.random.default_rng(seed)
        rng = self.rng
        self.max_batch = int(rng.choice([1, 4, 8, 16]))
        self.single_ns = round(float(rng.uniform(3, 40)) * MS)
        self.share = float(rng.uniform(0.1, 1.0))
        self.takt_ns = round(self.single_ns * float(rng.uniform(1.5, 12)))
        self.names = [f"camera{number}" for number in range(int(rng.integers(1, 7)))]
        self.clock = VirtualClock()
        self.begin = self.clock.now
        warm = {size: self.usual(size) for size in (1, 2, 4, 8, 16) if size <= self.max_batch}
        self.engine = VirtualEngine(self.clock, self.draw, self.max_batch, warm)
        self.journal = None if journal is None else Journal(JournalSection(path=journal, keep_images="none"))
        self.line = VirtualLine(
            bundle, self.engine, self.clock, dict.fromkeys(self.names, "drop_oldest"), self.takt_ns, self.publish
        )
        self.look_near = self.line.judge.threshold
        self.slow, self.slow_until, self.stall_until, self.broken_until = 1.0, 0, 0, 0
        self.next_change = self.trouble_until = self.begin
        # What float32 says of a frame, by its score: no two of those on their way have the same.
        self.truth: dict[float, float] = {}
        self.expected: defaultdict[str, int] = defaultdict(int)
        self.reasons: Counter[str | None] = Counter()
        self.exact = self.changes = 0
        self.waiting: list[Decided] = []
        # Frames that came alone while nothing was wrong, and whether they were inspected.
        self.calm: Counter[bool] = Counter()
        self.alone: set[int] = set()

    def usual(self, size: int) -> int:
        """How long a batch usually takes."""
        return round(self.single_ns * (1 - self.share + self.share * size))

    def run(self) -> None:
        """Plays the day."""
        self.line.run(self.arrivals(), self.change)
        assert self.expected == {name: count for name, count in self.line.captured.items() if count}
        assert len(self.line.ledger) == self.line.queue.depth == 0
        # Everything that waits anywhere is bounded by the queues' lengths and by the takt.
        assert self.line.most_waiting <= len(self.names) * self.max_batch
        assert self.line.most_open <= self.most_in_a_takt
        assert self.calm[True] >= 0.97 * self.calm.total(), "a line that recovered inspects again"
        if self.journal is not None:
            self.publish_rest()
            self.journal.drain()
            self.journal.close()

    def arrivals(self) -> Iterator[Arrival]:
        """Draws when frames come: minute by minute, steadily, at random or in bursts."""
        rng, plan = self.rng, self.plan
        self.most_in_a_takt = 0
        recent: list[int] = []
        minutes = max(1, round(plan.hours * 60))
        for minute in range(minutes):
            start = self.begin + minute * 60 * SECOND
            rate = plan.rate if rng.random() < plan.busy else plan.rate / 1000
            count = int(rng.poisson(rate * 60))
            moments = np.sort(rng.uniform(0, 60 * SECOND, count)).astype(np.int64)
            kind = rng.integers(3)
            if rate < plan.rate and kind != 2:
                self.alone.add(minute)
            if kind == 1:
                moments = np.linspace(0, 60 * SECOND, count, endpoint=False).astype(np.int64)
            elif kind == 2:
                moments = np.repeat(moments[::8], 8)[:count]
            cameras = rng.integers(0, len(self.names), count).tolist()
            corrupt = (rng.random(count) < 0.002).tolist()
            for moment, camera, bad in zip(moments.tolist(), cameras, corrupt, strict=True):
                at = start + moment
                heapq.heappush(recent, at)
                # An answer may leave as late as its deadline; those of the same moment count too.
                while recent[0] < at - self.takt_ns:
                    heapq.heappop(recent)
                self.most_in_a_takt = max(self.most_in_a_takt, len(recent))
                yield Arrival(at, self.names[camera], NO_PICTURE if bad else None)

    def change(self) -> None:
        """Lets something happen now and then."""
        if self.clock.now < self.next_change:
            return
        rng, now = self.rng, self.clock.now
        self.next_change = now + round(float(rng.exponential(self.plan.hours * HOUR / 400)))
        self.changes += 1
        match int(rng.integers(6)):
            case 0:
                # NTP, or daylight saving.
                self.clock.offset += int(rng.choice([-3600, 3600, -1, 1])) * SECOND
            case 1:
                self.slow = float(rng.choice([0.7, 1.3, 3.0, 20.0]))
                self.slow_until = now + round(float(rng.uniform(1, 600)) * SECOND)
            case 2:
                self.stall_until = now + round(float(rng.uniform(0.1, 20)) * SECOND)
            case 3:
                self.broken_until = now + round(float(rng.uniform(0.1, 20)) * SECOND)
            case _:
                # As the line is told: the engine first, then the judge, with batches in flight.
                self.look_near = self.line.judge.threshold = float(rng.uniform(1, 4))
        self.trouble_until = max(self.slow_until, self.stall_until, self.broken_until)

    def publish_rest(self) -> None:
        """Journals what still waits for others to be journaled with."""
        if self.journal is not None and self.waiting:
            self.journal.enter(self.waiting)
        self.waiting = []

    def draw(self, count: int) -> Outcome:
        """Draws what becomes of a batch: a fast engine with a second look near the threshold."""
        rng, now = self.rng, self.clock.now
        slow = self.slow if now < self.slow_until else 1.0
        taken = round(self.usual(count) * slow * float(rng.lognormal(0, 0.05)))
        if now < self.stall_until:
            taken += self.stall_until - now
            self.stall_until = 0
        if now < self.broken_until:
            return Outcome(taken // 10, None, np.empty(0, np.bool_), np.empty(0, np.bool_))
        truth = rng.normal(1.0, _SPREAD, count).astype(np.float32)
        score = truth + rng.uniform(-_BAND, _BAND, count).astype(np.float32)
        near = np.abs(score - self.look_near) <= _BAND
        # Where time is short the second look is left out.
        rescored = near & (rng.random() < 0.9)
        score[rescored] = truth[rescored]
        while len(self.truth) > 1000:
            del self.truth[next(iter(self.truth))]
        self.truth.update(zip(score.tolist(), truth.tolist(), strict=True))
        return Outcome(taken, score, rescored | ~near, rescored, self.look_near)

    def publish(self, answers: Sequence[Decided]) -> None:
        """Checks what the line answers, as it leaves."""
        if self.journal is not None:
            self.waiting += answers
            if len(self.waiting) >= _TOGETHER:
                self.publish_rest()
        now = self.clock.now
        for decided in answers:
            frame, verdict = decided.frame, decided.verdict
            self.reasons[verdict.reason] += 1
            minute = (frame.captured - self.begin) // (60 * SECOND)
            if (
                minute in self.alone
                and frame.captured > self.trouble_until + _RECOVERY_NS
                and verdict.reason != "corrupt"
            ):
                self.calm[verdict.reason is None] += 1
            assert verdict.sequence == self.expected[frame.camera], "one answer a frame, in order"
            self.expected[frame.camera] += 1
            assert now - frame.captured <= self.takt_ns, "within the takt"
            latency = verdict.latency
            assert min(latency.queue, latency.infer, latency.decide) >= 0, "clock steps change no latency"
            assert latency.queue + latency.infer + latency.decide == decided.decided - frame.captured
            assert (verdict.verdict == "uninspected") == (verdict.reason is not None) == (verdict.score is None)
            if verdict.score is not None:
                exact = self.truth[verdict.score]
                if verdict.exact:
                    self.exact += 1
                    assert (exact > verdict.threshold) == (verdict.verdict == "ng"), "exact only where it is"


def main() -> None:
    """Plays one day and says how it went."""
    parser = argparse.ArgumentParser(description="Play a line's day on a virtual clock.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--rate", type=float, default=100, help="frames a second in busy minutes")
    parser.add_argument("--busy", type=float, default=1.0, help="share of the minutes that are busy")
    parser.add_argument("--journal", type=Path, help="a new journal's file")
    given = parser.parse_args()
    started = time.monotonic()
    plan = Plan(given.hours, given.rate, given.busy)
    day = Day(open_bundle(given.bundle), given.seed, given.journal, plan)
    day.run()
    frames = sum(day.reasons.values())
    print(f"{given.hours:g} h, {frames} frames in {time.monotonic() - started:.0f} s: {dict(day.reasons)}")
    print(f"{day.exact} exact, {day.changes} changes; takt {day.takt_ns / MS:.0f} ms, batches of {day.max_batch}")


if __name__ == "__main__":
    main()
