"""Lines that get more frames than they can inspect, and how many the best fixed batch size would inspect.

    python -m tests.simulation.overload BUNDLE --cases 300

draws cases and prints those where the line inspects less than 0.9 of that.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bench.load.schedule import Arrivals, make_schedule
from engines.bundle import Bundle, open_bundle
from pipeline.flow.decided import Decided
from tests.simulation.best_fixed import best_fixed
from tests.simulation.line import Arrival, VirtualLine
from tests.simulation.world import MS, Outcome, VirtualClock, VirtualEngine, all_exact

Cost = Callable[[int], float]


@dataclass(frozen=True)
class Load:
    """An engine, and the frames that come to it.

    Attributes:
        cost: milliseconds of a batch, by its size.
        takts: the takt, in times of a batch of one.
        times: the rate of frames, in times of what the best batch size inspects where it is always full.
        arrivals: how they come.
        max_batch: the most frames in a batch.
        cameras: that share the rate.
        burst: frames in a burst.
        jitter: spread of the engine's times: the standard deviation of their logarithm.
        every_size: whether the engine measures every size while it warms up, as fast ones do; else powers of two.
        frames: how many come.
        seed: of what is drawn.
    """

    cost: Cost = field(repr=False)
    takts: float
    times: float
    arrivals: Arrivals = "poisson"
    max_batch: int = 8
    cameras: int = 1
    burst: int = 8
    jitter: float = 0.03
    every_size: bool = False
    frames: int = 1500
    seed: int = 7

    @property
    def takt_ns(self) -> int:
        """The takt."""
        return round(self.takts * self.cost(1) * MS)

    @property
    def patience_ns(self) -> int:
        """The takt, less what a line needs to publish an answer."""
        return self.takt_ns - min(5 * MS, int(0.03 * self.takt_ns))

    @property
    def limit(self) -> float:
        """The most frames a second that batches of one size inspect in time."""
        sizes = [size for size in range(1, self.max_batch + 1) if self.cost(size) * MS <= self.patience_ns]
        return max(size / self.cost(size) * 1000 for size in sizes)


class Overloaded:
    """A line of one or more cameras that gets more frames than it can inspect."""

    def __init__(self, bundle: Bundle, load: Load) -> None:
        self.rng, self.load, self.cost = np.random.default_rng(load.seed), load, load.cost
        self._takt_ns, self.clock = load.takt_ns, VirtualClock()
        self.engine = self.new_engine()
        self.names = [f"camera{number}" for number in range(load.cameras)]
        self.reasons: Counter[str | None] = Counter()
        self.inspected: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()
        cameras = dict.fromkeys(self.names, "drop_oldest")
        self.line = VirtualLine(bundle, self.engine, self.clock, cameras, load.takt_ns, self.publish)  # type: ignore[arg-type]

    def new_engine(self) -> VirtualEngine:
        """An engine that has just warmed up."""
        sizes = range(1, self.load.max_batch + 1)
        warm = {size: round(self.cost(size) * MS) for size in sizes if self.load.every_size or not size & (size - 1)}
        return VirtualEngine(self.clock, self.work, self.load.max_batch, warm)

    def draw(self, count: int) -> int:
        """Draws how long a batch takes, in nanoseconds."""
        return round(self.cost(count) * MS * float(self.rng.lognormal(0, self.load.jitter)))

    def work(self, _engine: VirtualEngine, count: int) -> Outcome:
        """Works on a batch."""
        self.sizes[count] += 1
        return Outcome(self.draw(count), all_exact(np.zeros(count, np.float32)))

    def publish(self, answers: Sequence[Decided]) -> None:
        """Counts what the line answers."""
        for decided in answers:
            self.reasons[decided.verdict.reason] += 1
            self.inspected[decided.frame.camera] += decided.verdict.reason is None
            assert self.clock.now - decided.frame.captured <= self._takt_ns

    def run(self, arrivals: Arrivals | None = None, rate: float | None = None) -> list[int]:
        """Plays the frames and returns when they came."""
        load = self.load
        rate = load.times * load.limit if rate is None else rate
        schedule = make_schedule(
            arrivals or load.arrivals, rate, load.frames / rate, load.cameras, load.burst, load.seed
        )
        start = self.clock.now
        moments = [start + int(moment) for moment in schedule.moments]
        cameras = schedule.cameras.tolist()
        self.line.come(Arrival(at, self.names[camera]) for at, camera in zip(moments, cameras, strict=True))
        self.line.run()
        assert sum(self.reasons.values()) == sum(self.line.captured.values())
        return moments


def compare(bundle: Bundle, load: Load) -> tuple[float, str]:
    """Returns the share that a line inspects of what the best fixed batch size would, and how that came about."""
    line = Overloaded(bundle, load)
    moments = line.run()
    usual = [0, *(round(load.cost(size) * MS) for size in range(1, load.max_batch + 1))]
    best, size = best_fixed(
        moments, load.patience_ns, usual.__getitem__, lambda: Overloaded(bundle, load).draw, load.max_batch
    )
    share = line.reasons[None] / best
    here = f"{dict(line.sizes.most_common(5))}; {dict(line.reasons)}"
    return share, f"{share:.2f}: {line.reasons[None]} of {best} in batches of {size}; here of {here}"


def draw_load(seed: int, most_jitter: float = 0.1) -> tuple[str, Load]:
    """Draws an engine and the frames that come to it, and returns them with the kind of the engine."""
    rng = np.random.default_rng(seed)
    single, share = float(rng.choice([3.0, 30.0, 100.0])), float(rng.uniform(0.05, 1))
    shapes: dict[str, Cost] = {
        "flat": lambda size: 1 + 0.01 * (size - 1),
        "linear": lambda size: size,
        "affine": lambda size: 1 - share + share * size,
        "powers of two": lambda size: 1 - share + share * (1 << (size - 1).bit_length()),
        "steps of four": lambda size: 1 - share + share * (4 * -(-size // 4) if size > 1 else 1),
        "sublinear": lambda size: size**share,
        "superlinear": lambda size: size ** (1 + 0.3 * share),
    }
    kind = str(rng.choice(list(shapes)))
    shape = shapes[kind]
    load = Load(
        lambda size: single * shape(size),
        takts=float(rng.choice([1.5, 3, 10])),
        times=float(rng.choice([2, 3])),
        arrivals="poisson" if rng.random() < 0.5 else "bursts",
        max_batch=int(rng.choice([4, 8, 16])),
        cameras=int(rng.choice([1, 2, 4])),
        burst=int(rng.choice([4, 8, 16])),
        jitter=float(rng.uniform(0, most_jitter)),
        every_size=bool(rng.random() < 0.5),
        seed=seed,
    )
    # So many batches that the first ones, from which the line learns, are few of them.
    return kind, replace(load, frames=250 * load.max_batch)


def main() -> None:
    """Draws cases."""
    parser = argparse.ArgumentParser(description="Draw overloaded lines, and print those below 0.9.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--jitter", type=float, default=0.1, help="the largest spread of the engine's times")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    bundle, shares = open_bundle(given.bundle), []
    for seed in range(given.first, given.first + given.cases):
        kind, load = draw_load(seed, given.jitter)
        share, words = compare(bundle, load)
        shares.append(share)
        if share < 0.9:
            print(f"{seed}: {words}\n    {kind}, {load}", flush=True)
    below = sum(share < 0.9 for share in shares)
    print(f"{given.cases} cases: least {min(shares):.2f}, median {np.median(shares):.2f}, {below} below 0.9")


if __name__ == "__main__":
    main()
