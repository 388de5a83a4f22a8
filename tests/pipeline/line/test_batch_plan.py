"""Which frames make the next batch: decided from numbers alone."""

from __future__ import annotations

import pytest

from pipeline.line.batch_plan import Costs, EngineState, Plan, plan_batch
from pipeline.line.fair_queue import NEVER

MS = 1_000_000
IDLE = EngineState(True, 0, 0)


def costs(*ms: float, **more: int) -> Costs:
    typical = (0, *(round(one * MS) for one in ms))
    return Costs(typical, tuple(round(1.1 * one) for one in typical), (0.95, 1.0, 1.05, 1.1), **more)


# Eight frames cost four times as much as one; of the other engine, eight times.
BATCHING, PLAIN = costs(*(40 + 20 * size for size in range(1, 9))), costs(*(60 * size for size in range(1, 9)))


def plan(deadlines_ms: list[float], engine: EngineState = IDLE, costs: Costs = BATCHING, takt_ms: float = 1000) -> Plan:
    deadlines = [round(one * MS) for one in deadlines_ms]
    newest = (deadlines[-1] - round(takt_ms * MS), deadlines[-1]) if deadlines else None
    return plan_batch(0, deadlines, newest, engine, costs)


@pytest.mark.parametrize(
    ("deadlines", "engine_costs", "size", "left"),
    [
        # Nobody waits.
        ([], BATCHING, 0, 0),
        # Whatever waits goes at once to an idle engine.
        ([1000] * 3, BATCHING, 3, 3),
        ([1000] * 8, BATCHING, 8, 8),
        # Eight at once take 200 ms half of the time and more the other half; seven are in time nearly always.
        ([205] * 8, BATCHING, 7, 7),
        # Eight are in time always.
        ([222] * 8, BATCHING, 8, 8),
        # Where batching gains nothing, a batch of one answers soonest.
        ([1000] * 8, PLAIN, 1, 8),
        # In 200 ms it serves three frames one after another; the oldest give way.
        ([200 + number for number in range(8)], PLAIN, 1, 3),
        # The oldest is beyond help, the others are not.
        ([50, 900, 900], BATCHING, 2, 2),
        # All can be answered if the oldest, whose time is nearly up, does not wait for a larger batch.
        ([70, 900, 900], BATCHING, 1, 3),
        # Larger and larger batches fit, but nothing is gained beyond two.
        ([1000] * 8, costs(60, 80, 120, 160, 200, 240, 280, 320), 2, 8),
    ],
)
def test_the_size_that_answers_most_is_chosen(
    deadlines: list[float], engine_costs: Costs, size: int, left: int
) -> None:
    found = plan(deadlines, costs=engine_costs)
    assert found.size == size
    hopeless = sum(one * MS < found.hopeless_before for one in deadlines)
    assert len(deadlines) - hopeless - found.surplus == left


def test_a_batch_is_not_closed_long_before_the_engine_can_take_it() -> None:
    busy = EngineState(False, 50 * MS, 55 * MS)
    # Nothing is closed earlier than a millisecond before, so that the engine need not wait.
    assert plan([1000] * 8, busy) == Plan(0, 110 * MS, 0, 49 * MS)
    assert plan([1000] * 8, EngineState(False, MS // 2, 3 * MS)).size == 8
    # A smaller batch than the best one may still grow, and one that is only just in time may still become newer: they
    # are closed when the engine is surely free.
    assert plan([1000] * 3, EngineState(False, MS // 2, 3 * MS)).again == 3 * MS
    assert plan([222] * 8, EngineState(False, MS // 2, 3 * MS)).again == 3 * MS
    assert plan([1000] * 3, EngineState(False, 0, 0)).size == 3
    # Decoding comes first, so a batch is begun that much earlier.
    slow = costs(*(40 + 20 * size for size in range(1, 9)), prepare=30 * MS, decoders=4)
    assert plan([1000] * 5, busy, slow).size == 5
    assert plan([1000] * 3, EngineState(False, 50 * MS, 90 * MS), slow).again == 30 * MS


@pytest.mark.parametrize(("worth", "size"), [(0.0, 1), (1 / 60, 1), (1 / 100, 2), (1 / 1000, 2)])
def test_a_larger_batch_is_worth_it_where_time_brings_little(worth: float, size: int) -> None:
    """Two take 130 ms together, and one after the other 120: time for the second is only there if nobody else comes."""
    few = Costs((0, 60 * MS, 130 * MS), (0, 60 * MS, 130 * MS), worth=worth / MS)
    assert plan([140] * 4, costs=few).size == size


def test_what_waits_for_the_engine_counts() -> None:
    # 60 ms from now it would do; behind a batch that takes another millisecond it will not.
    assert plan([60.5]).size == 1
    assert plan([60.5], EngineState(False, MS, MS)).size == 0


def test_frames_without_a_deadline_are_never_given_up() -> None:
    found = plan_batch(0, [NEVER] * 20, None, IDLE, BATCHING)
    assert (found.size, found.surplus) == (8, 0)
    assert found.hopeless_before < NEVER


def test_a_takt_just_above_the_engine_s_time_is_tried_with_the_newest() -> None:
    # 60 ms are typical, 66 sure.
    found = plan([45, 55, 62], takt_ms=62)
    assert (found.size, found.hopeless_before) == (1, 60 * MS)


def test_an_engine_that_became_too_slow_is_tried_with_fresh_frames_only() -> None:
    busy_lately = EngineState(True, 0, 0, since=0)
    assert plan([50], busy_lately, takt_ms=50).size == 1
    assert plan([40], busy_lately, takt_ms=50).size == 0
    # Nothing fresh came for a whole takt: an older frame shows how fast the engine is now.
    assert plan([40], EngineState(True, 0, 0, since=-51 * MS), takt_ms=50).size == 1
    # What became slow may also be the decoding.
    assert plan([70], costs=costs(60, prepare=20 * MS), takt_ms=70).size == 1
    # It would be quick enough: this frame is simply too old, and those that come should find the engine idle.
    assert plan([50], takt_ms=500).size == 0


def test_an_engine_that_was_unsteady_is_tried_again() -> None:
    unsteady = Costs((0, 60 * MS), (0, 600 * MS), (1.0, 9.0, 9.5, 10.0))
    assert plan([100], costs=unsteady).size == 1
    assert plan([100], EngineState(False, 0, 0), unsteady).size == 0


def test_nothing_is_known_yet() -> None:
    assert plan([10] * 3, costs=costs(*[0] * 8)).size == 3
