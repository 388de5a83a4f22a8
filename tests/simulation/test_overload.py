"""Beyond its limit a line inspects as many frames as it would with the batch size that suits the takt best."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load.schedule import Arrivals
from engines.bundle import open_bundle
from tests.simulation.line import Arrival
from tests.simulation.overload import Cost, Load, Overloaded, compare, draw_load
from tests.simulation.world import MS

SINGLE_MS = 30.0

# Milliseconds of a batch, by its size.
COSTS: dict[str, Cost] = {
    # A CPU in float32: batching gains nothing.
    "cpu": lambda size: SINGLE_MS * size * 0.98 if size > 1 else SINGLE_MS,
    # A GPU on which the second frame costs a tenth.
    "gpu": lambda size: SINGLE_MS * (0.9 + 0.1 * size),
    # Sizes that are no power of two cost as much as the next that is.
    "padded": lambda size: SINGLE_MS * (0.4 + 0.6 * (1 << (size - 1).bit_length())),
}


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
    load = Load(COSTS[engine], takts, times, arrivals, seed=3, frames=1500 if takts > 1.05 else 6000)
    share, words = compare(open_bundle(small_bundle_path), load)
    print(words)
    assert share >= 0.9


@pytest.mark.parametrize("seed", range(20))
def test_it_is_so_for_engines_and_loads_of_any_kind(small_bundle_path: Path, seed: int) -> None:
    """By hand with hundreds: `python -m tests.simulation.overload BUNDLE`."""
    kind, load = draw_load(seed)
    share, words = compare(open_bundle(small_bundle_path), load)
    print(kind, load, words)
    assert share >= 0.9


def test_a_batch_that_is_too_large_for_the_takt_is_never_made(small_bundle_path: Path) -> None:
    """A camera of 75 frames a second before an engine that does 31: all batches of 8, and all frames, were late."""
    line = Overloaded(open_bundle(small_bundle_path), Load(lambda size: 32.0 * size, 6.25, 0, "constant"))
    line.run(rate=75)
    seconds = line.load.frames / 75
    assert line.reasons[None] >= 0.95 * 31.25 * seconds
    assert max(line.sizes) * 32 <= 200


def test_an_engine_that_becomes_slower_than_the_takt_and_recovers_is_used_again(small_bundle_path: Path) -> None:
    slow = 1.0
    line = Overloaded(open_bundle(small_bundle_path), Load(lambda size: slow * SINGLE_MS * size, 1.67, 0))
    line.run(rate=60)
    before = line.reasons[None]
    slow = 4.0
    line.run(rate=60)
    during = line.reasons[None] - before
    slow = 1.0
    line.run(rate=60)
    after = line.reasons[None] - before - during
    assert during <= 0.05 * before
    assert after >= 0.85 * before


def test_cameras_that_send_little_are_inspected_beside_one_that_floods(small_bundle_path: Path) -> None:
    line = Overloaded(open_bundle(small_bundle_path), Load(COSTS["gpu"], 5, 0, cameras=3))
    limit = 8 / COSTS["gpu"](8) * 1000
    start = line.clock.now
    second = 1000 * MS
    flood = [(start + round(number * second / (3 * limit)), "camera0") for number in range(line.load.frames * 2)]
    calm = [
        (start + number * second // 20 + shift * MS, name)
        for number in range(round(line.load.frames * 2 / (3 * limit) * 20))
        for shift, name in ((3, "camera1"), (11, "camera2"))
    ]
    line.line.come(Arrival(moment, name) for moment, name in sorted(flood + calm))
    line.line.run()
    for name in ("camera1", "camera2"):
        assert line.inspected[name] >= 0.9 * line.line.captured[name]
    assert line.reasons[None] >= 0.9 * 8 * len(flood) / (3 * 8)


def test_after_a_deploy_the_batches_are_those_that_suit_the_new_engine(small_bundle_path: Path) -> None:
    """From a processor that gains nothing by batching to a card that does: what was learnt of the first says little."""
    line = Overloaded(open_bundle(small_bundle_path), Load(COSTS["cpu"], 10, 0))
    line.run(rate=60)
    line.cost = COSTS["gpu"]
    line.line.deploy(line.new_engine())
    before, limit = line.reasons[None], 8 / COSTS["gpu"](8) * 1000
    line.run(rate=2 * limit)
    assert line.reasons[None] - before >= 0.9 * line.load.frames / 2
