"""Beyond its limit a line inspects as many frames as it would with the batch size that suits the takt best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.load.schedule import Arrivals, make_schedule
from engines.bundle import open_bundle
from pipeline.flow.decided import Decided
from tests.simulation.best_fixed import best_fixed
from tests.simulation.line import Arrival, VirtualLine
from tests.simulation.world import MS, Outcome, VirtualClock, VirtualEngine, all_exact

MAX_BATCH = 8
SINGLE_MS = 30.0
FRAMES = 1500
Cost = Callable[[int], float]

# Milliseconds of a batch, by its size.
COSTS: dict[str, Cost] = {
    # A CPU in float32: batching gains nothing.
    "cpu": lambda size: SINGLE_MS * size * 0.98 if size > 1 else SINGLE_MS,
    # A GPU on which the second frame costs a tenth.
    "gpu": lambda size: SINGLE_MS * (0.9 + 0.1 * size),
    # Sizes that are no power of two cost as much as the next that is.
    "padded": lambda size: SINGLE_MS * (0.4 + 0.6 * (1 << (size - 1).bit_length())),
}


class Overloaded:
    """A line of one or more cameras that gets more frames than it can inspect."""

    def __init__(self, bundle: Path, cost: Cost, takt_ns: int, cameras: int = 1, jitter: float = 0.03) -> None:
        self.rng, self.cost, self.jitter = np.random.default_rng(7), cost, jitter
        warm = {size: round(cost(size) * MS) for size in (1, 2, 4, 8)}
        self.clock = VirtualClock()
        self.engine = VirtualEngine(self.clock, self.work, MAX_BATCH, warm)
        self.names = [f"camera{number}" for number in range(cameras)]
        self.reasons: Counter[str | None] = Counter()
        self.inspected: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()
        self.takt_ns = takt_ns
        self.line = VirtualLine(
            open_bundle(bundle),
            self.engine,
            self.clock,
            dict.fromkeys(self.names, "drop_oldest"),
            takt_ns,
            self.publish,
        )

    def draw(self, count: int) -> int:
        return round(self.cost(count) * MS * float(self.rng.lognormal(0, self.jitter)))

    def work(self, _engine: VirtualEngine, count: int) -> Outcome:
        self.sizes[count] += 1
        return Outcome(self.draw(count), all_exact(np.zeros(count, np.float32)))

    def publish(self, answers: Sequence[Decided]) -> None:
        for decided in answers:
            self.reasons[decided.verdict.reason] += 1
            self.inspected[decided.frame.camera] += decided.verdict.reason is None
            assert self.clock.now - decided.frame.captured <= self.takt_ns

    def run(self, arrivals: Arrivals, rate: float) -> list[int]:
        """Plays so many frames a second and returns when they came."""
        seconds = FRAMES / rate
        schedule = make_schedule(arrivals, rate, seconds, len(self.names), burst=8, seed=3)
        start = self.clock.now
        moments = [start + int(moment) for moment in schedule.moments]
        self.line.come(
            Arrival(moment, self.names[camera])
            for moment, camera in zip(moments, schedule.cameras.tolist(), strict=True)
        )
        self.line.run()
        assert sum(self.reasons.values()) == sum(self.line.captured.values())
        return moments


@pytest.mark.parametrize("arrivals", ["poisson", "bursts"])
@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize(
    ("engine", "takts"),
    # 1.05: only batches of one fit, and one in four of them takes too long.
    [("cpu", 1.05), *((engine, takts) for engine in COSTS for takts in (1.5, 3, 10))],
)
def test_the_rate_is_that_of_the_best_fixed_size(
    small_bundle_path: Path, arrivals: Arrivals, times: int, engine: str, takts: float
) -> None:
    cost = COSTS[engine]
    takt_ns = round(takts * SINGLE_MS * MS)
    line = Overloaded(small_bundle_path, cost, takt_ns)
    patience = takt_ns - min(5 * MS, int(0.03 * takt_ns))
    limit = max(size / cost(size) * 1000 for size in range(1, MAX_BATCH + 1) if cost(size) * MS <= patience)
    moments = line.run(arrivals, times * limit)
    inspected, sizes = line.reasons[None], dict(line.sizes)
    best, size = best_fixed(moments, patience, lambda count: round(cost(count) * MS), line.draw, MAX_BATCH)
    print(f"{inspected / best:.2f}: {inspected} of {best} in batches of {size}; here of {sizes}; {dict(line.reasons)}")
    assert inspected >= 0.9 * best


def test_a_batch_that_is_too_large_for_the_takt_is_never_made(small_bundle_path: Path) -> None:
    """A camera of 75 frames a second before an engine that does 31: all batches of 8, and all frames, were late."""
    line = Overloaded(small_bundle_path, lambda size: 32.0 * size, 200 * MS)
    line.run("constant", 75)
    seconds = FRAMES / 75
    assert line.reasons[None] >= 0.95 * 31.25 * seconds
    assert max(line.sizes) * 32 <= 200


def test_an_engine_that_becomes_slower_than_the_takt_and_recovers_is_used_again(small_bundle_path: Path) -> None:
    slow = 1.0
    line = Overloaded(small_bundle_path, lambda size: slow * SINGLE_MS * size, 50 * MS)
    line.run("poisson", 60)
    before = line.reasons[None]
    slow = 4.0
    line.run("poisson", 60)
    during = line.reasons[None] - before
    slow = 1.0
    line.run("poisson", 60)
    after = line.reasons[None] - before - during
    assert during <= 0.05 * before
    assert after >= 0.85 * before


def test_cameras_that_send_little_are_inspected_beside_one_that_floods(small_bundle_path: Path) -> None:
    line = Overloaded(small_bundle_path, COSTS["gpu"], 150 * MS, cameras=3)
    limit = 8 / COSTS["gpu"](8) * 1000
    start = line.clock.now
    second = 1000 * MS
    flood = [(start + round(number * second / (3 * limit)), "camera0") for number in range(FRAMES * 2)]
    calm = [
        (start + number * second // 20 + shift * MS, name)
        for number in range(round(FRAMES * 2 / (3 * limit) * 20))
        for shift, name in ((3, "camera1"), (11, "camera2"))
    ]
    line.line.come(Arrival(moment, name) for moment, name in sorted(flood + calm))
    line.line.run()
    for name in ("camera1", "camera2"):
        assert line.inspected[name] >= 0.9 * line.line.captured[name]
    assert line.reasons[None] >= 0.9 * 8 * len(flood) / (3 * 8)
