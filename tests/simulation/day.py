"""A day of a line, drawn from a seed: cameras that come and go, devices that stumble, deploys, clocks that are set.

    python -m tests.simulation.day BUNDLE --seed 7 --full

plays one with the cameras at full rate from midnight to midnight. Without `--full` the frames come in bursts around
whatever happens, and a few at other times: all of a day's faults, and a five-hundredth of its frames.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.bundle import Bundle, open_bundle
from engines.engine import Engine
from engines.succession import Limits
from pipeline.config.sections import JournalSection
from pipeline.flow.decided import Decided
from pipeline.journal.store import Journal
from pipeline.protocol.orders import Order
from tests.simulation.checks import Checks
from tests.simulation.devices import Device, Truth
from tests.simulation.line import Arrival, VirtualLine
from tests.simulation.world import MS, SECOND, VirtualClock, VirtualFailover

MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
NO_PICTURE = b"\xff\xd8 cut off"
_TOGETHER = 64
_RECOVERY_NS = 60 * SECOND
_CHANGES_AN_HOUR = 7
_CHANGES = {"clock": 0.15, "slow": 0.2, "stand": 0.2, "break": 0.2, "threshold": 0.15, "deploy": 0.05, "pause": 0.05}
_SPELL_S, _ALONE_S = 0.25, 30.0


@dataclass(frozen=True)
class Plan:
    """How much of a day is played.

    Attributes:
        hours: how long.
        rate: frames a second of all cameras together.
        full: whether frames come at that rate all the time, or in bursts around whatever happens.
    """

    hours: float = 24.0
    rate: float = 100.0
    full: bool = False


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
        self.names = [f"camera{number}" for number in range(int(rng.integers(1, 7)))]
        self.clock, self.truth = VirtualClock(), Truth()
        self.begin, self.end = self.clock.now, self.clock.now + round(self.plan.hours * HOUR)
        self.bundle, self.threshold = bundle, bundle.manifest.threshold.value
        self.happened: Counter[str] = Counter()
        engine = self.new_engine()
        self.takt_ns = round(self.devices[0].single_ns * float(rng.uniform(1.5, 12)))
        self.journal = (
            None if journal is None else Journal(JournalSection(path=journal, keep_images="none"), self.clock)
        )
        self.checks = Checks(self.truth, self.takt_ns)
        self.line = VirtualLine(
            bundle, engine, self.clock, dict.fromkeys(self.names, "drop_oldest"), self.takt_ns, self.publish
        )
        # When something happens, in order; what it is is drawn then.
        count = int(rng.poisson(_CHANGES_AN_HOUR * self.plan.hours))
        moments = np.sort(rng.integers(self.begin, self.end, count)).tolist()
        for moment in moments:
            self.clock.at(moment, self.change)
            self.spell_around(moment)
        self.clock.at(self.begin, self.lone_frame)
        if self.plan.full:
            self.clock.at(self.begin, self.full_rate)
        self.trouble_until = self.begin
        self.waiting: list[Decided] = []
        self.alone: set[int] = set()
        self.lone = self.last = 0

    def run(self) -> None:
        """Plays the day."""
        self.line.run(self.end)
        self.checks.check_whole({name: count for name, count in self.line.captured.items() if count})
        assert len(self.line.ledger) == self.line.queue.depth == 0
        assert self.line.most_waiting <= len(self.names) * self.max_batch, "queues are bounded"
        assert self.line.most_overdue <= 0, "nothing stays in the line for longer than the takt"
        if self.journal is not None:
            self.publish_rest()
            self.journal.drain()
            self.journal.close()

    def spell(self, length: int) -> None:
        """Lets frames come at full rate for a while: steadily, at random or in bursts."""
        rng, begin = self.rng, self.clock.now
        count = int(rng.poisson(self.plan.rate * length / SECOND))
        moments = np.sort(rng.uniform(0, length, count)).astype(np.int64)
        match int(rng.integers(3)):
            case 0:
                moments = np.linspace(0, length, count, endpoint=False).astype(np.int64)
            case 1:
                moments = np.repeat(moments[::8], 8)[:count]
        # One camera may send most of them.
        cameras = rng.choice(len(self.names), count, p=rng.dirichlet([1.0] * len(self.names))).tolist()
        corrupt = (rng.random(count) < 0.002).tolist()
        self.come(
            Arrival(moment, self.names[camera], NO_PICTURE if bad else b"")
            for moment, camera, bad in zip((begin + moments).tolist(), cameras, corrupt, strict=True)
        )

    def come(self, arrivals: Iterable[Arrival]) -> None:
        """Lets frames come, which may disturb one that came alone."""
        for arrival in arrivals:
            self.line.come([arrival])
            self.last = max(self.last, arrival.at)
            if arrival.at < self.lone + 2 * self.takt_ns:
                self.alone.discard(self.lone)

    def full_rate(self) -> None:
        """Lets frames come at full rate, minute after minute; one in twenty is quiet."""
        if self.rng.random() < 0.95:
            self.spell(min(MINUTE, self.end - self.clock.now))
        if self.clock.now + MINUTE < self.end:
            self.clock.at(self.clock.now + MINUTE, self.full_rate)

    def spell_around(self, moment: int) -> None:
        """Plans a short spell around something that happens."""
        if not self.plan.full:
            start = moment - self.seconds(0, 0.3)
            self.clock.at(max(self.clock.now, start), lambda: self.spell(self.drawn_s(_SPELL_S)))

    def lone_frame(self) -> None:
        """Lets a frame come alone: nothing but a fault is a reason not to inspect it."""
        now = self.clock.now
        if now > self.last + 2 * self.takt_ns:
            self.alone.add(now)
            self.lone = now
            self.line.come([Arrival(now, self.names[0])])
        if now + MINUTE < self.end:
            self.clock.at(now + self.drawn_s(_ALONE_S), self.lone_frame)

    def change(self) -> None:
        """Lets something happen."""
        rng, now = self.rng, self.clock.now
        what = str(rng.choice(list(_CHANGES), p=list(_CHANGES.values())))
        self.happened[what] += 1
        hit = self.devices[:1] if rng.random() < 0.75 else self.devices
        if what == "clock":
            # NTP, or daylight saving.
            self.clock.offset += int(rng.choice([-3600, 3600, -1, 1])) * SECOND
        elif what == "threshold":
            self.line.orders.obey(Order(do="threshold", threshold=float(rng.uniform(1, 4))))
        elif what == "deploy":
            self.threshold = self.bundle.manifest.threshold.value
            try:
                self.line.deploy(self.new_engine())
            except RuntimeError:
                # It cannot be opened now: the line goes on as before.
                self.happened["refused"] += 1
        elif what == "pause":
            self.line.orders.obey(Order(do="pause"))
            self.clock.at(now + self.seconds(0.1, 10), lambda: self.line.orders.obey(Order(do="resume")))
            self.trouble_until = max(self.trouble_until, now + 10 * SECOND)
        for device in hit:
            if what == "slow":
                device.run_slowly(float(rng.choice([0.7, 1.3, 3.0, 20.0])), now + self.seconds(1, 600))
            elif what == "stand":
                # For a moment, or so long that it is taken for hung.
                device.stand_still(now + self.seconds(0.05, float(rng.choice([1, 60]))))
            elif what == "break":
                device.break_down(now + self.seconds(0.1, float(rng.choice([1, 120]))))
            if device.well_from > now:
                self.trouble_until = max(self.trouble_until, device.well_from)
                self.spell_around(device.well_from)
        if what == "stand":
            # When it may be taken for hung.
            self.spell_around(now + round(Limits().answer_s * SECOND))

    def new_engine(self) -> VirtualFailover:
        """Opens an engine on a device of its own, with another to take its place."""
        near = self.threshold
        precision = str(self.rng.choice(["f32", "bf16"]))
        number = self.happened["deploy"]
        devices = [
            Device(self.clock, self.rng, self.truth, f"{name}{number}", offered, self.max_batch)
            for name, offered in (("card", precision), ("spare", "f32"))
        ]
        openers: list[Callable[[], Engine]] = [lambda device=device: device.open(near) for device in devices]  # type: ignore[misc]
        engine = VirtualFailover(self.clock, openers, lambda index: self.opening(devices[index]), Limits())
        self.devices = devices
        return engine

    def opening(self, device: Device) -> int:
        """Draws how long it takes to open an engine; frames are on their way when it takes over."""
        taken = device.opening()
        self.spell_around(self.clock.now + taken)
        return taken

    def drawn_s(self, mean: float) -> int:
        """Draws a time that is this long on average, in nanoseconds."""
        return round(float(self.rng.exponential(mean)) * SECOND)

    def seconds(self, least: float, most: float) -> int:
        """Draws a time, in nanoseconds."""
        return round(float(self.rng.uniform(least, most)) * SECOND)

    def publish_rest(self) -> None:
        """Journals what still waits for others to be journaled with."""
        if self.journal is not None and self.waiting:
            self.journal.enter(self.waiting)
        self.waiting = []

    def publish(self, answers: Sequence[Decided]) -> None:
        """Takes what the line answers, as it leaves."""
        if self.journal is not None:
            self.waiting += answers
            if len(self.waiting) >= _TOGETHER:
                self.publish_rest()
        for decided in answers:
            moment = decided.frame.captured
            self.checks.check(decided, self.clock.now, moment in self.alone and self.is_calm(moment))

    def is_calm(self, moment: int) -> bool:
        """Tells whether a frame that came alone then must have been inspected."""
        if moment <= self.trouble_until + _RECOVERY_NS:
            return False
        running = next((device for device in self.devices if device.name == self.line.model.engine.name), None)
        return running is not None and 1.3 * running.single_ns < self.takt_ns


def main() -> None:
    """Plays one day and says how it went."""
    parser = argparse.ArgumentParser(description="Play a line's day on a virtual clock.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--rate", type=float, default=100, help="frames a second")
    parser.add_argument("--full", action="store_true", help="at this rate all day long")
    parser.add_argument("--journal", type=Path, help="a new journal's file")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    started = time.process_time()
    day = Day(open_bundle(given.bundle), given.seed, given.journal, Plan(given.hours, given.rate, given.full))
    day.run()
    seconds, checks = time.process_time() - started, day.checks
    print(f"{given.hours:g} h, {checks.reasons.total()} frames in {seconds:.0f} s of processor time")
    print(f"takt {day.takt_ns / MS:.0f} ms, batches of {day.max_batch}, {len(day.names)} cameras")
    for counted in (checks.reasons, day.happened, checks.engines):
        print(dict(counted))
    print(f"{checks.exact} exact; of frames that came alone while all was well, inspected: {dict(checks.calm)}")


if __name__ == "__main__":
    main()
