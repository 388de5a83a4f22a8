"""What batches cost is learnt: while warming, and while the line runs."""

from __future__ import annotations

import pytest

from pipeline.line.service_time import ServiceTime


def warmed(max_batch: int, warm: dict[int, int]) -> ServiceTime:
    return ServiceTime(max_batch, lambda: warm)


def serve(times: ServiceTime, size: int, taken: int, start: int) -> int:
    """Notes one batch and returns when it was done."""
    times.sent(0, size, start)
    times.done(0, start + taken)
    return start + taken


def test_costs_are_a_median_and_a_high_quantile_of_what_was_seen() -> None:
    times, now = ServiceTime(8), 0
    assert times.costs().typical == (0,) * 9
    for number in range(1, 101):
        now = serve(times, 4, number * 1000, now)
    # The last 32 are remembered: 69,000 to 100,000.
    costs = times.costs()
    assert costs.typical[4] == pytest.approx(85_000, rel=0.03)
    assert costs.sure[4] == pytest.approx(99_000, rel=0.03)
    # A smaller size may cost as much; a larger one is worth a try.
    assert costs.typical[2] == costs.typical[4]
    assert 1.5 * costs.typical[4] < costs.typical[8] < 2 * costs.typical[4]


def test_what_was_measured_while_warming_stands_until_more_is_known_and_moves_with_the_machine() -> None:
    times, now = warmed(8, {1: 100, 2: 150, 4: 250, 8: 450}), 0
    assert times.costs().typical == (0, 100, 150, 200, 250, 300, 350, 400, 450)
    assert times.costs().sure[8] > 450
    # The machine becomes half as fast, and only batches of one are made.
    for _ in range(40):
        now = serve(times, 1, 200, now)
    assert times.costs().typical == (0, 200, 300, 400, 500, 600, 700, 800, 900)


def test_a_size_that_was_slow_once_is_not_avoided_for_ever() -> None:
    times, now = warmed(2, {1: 100, 2: 150}), 0
    for _ in range(16):
        now = serve(times, 2, 900, now)
    assert times.costs().typical[2] == 900
    for _ in range(1100):
        now = serve(times, 1, 100, now)
    assert times.costs().typical[2] == 150


def test_one_slow_batch_does_not_speak_for_its_size() -> None:
    times, now = warmed(4, {1: 100, 2: 150, 4: 250}), 0
    now = serve(times, 4, 1250, now)
    assert times.costs().typical == (0, 100, 150, 200, 250)
    for _ in range(9):
        now = serve(times, 4, 500, now)
    assert times.costs().typical[4] == 500


def test_a_size_that_was_not_tried_while_warming_is_learnt_soon_and_says_nothing_about_the_others() -> None:
    """Five cost as much as eight here, as where sizes are padded to powers of two."""
    times, now = warmed(8, {1: 100, 2: 150, 4: 250, 8: 450}), 0
    for _ in range(3):
        now = serve(times, 5, 450, now)
    # Larger ones between it and the next that was tried cost no less.
    assert times.costs().typical == (0, 100, 150, 200, 250, 450, 450, 450, 450)
    for _ in range(40):
        now = serve(times, 5, 450, now)
    assert times.costs().typical == (0, 100, 150, 200, 250, 450, 450, 450, 450)
    # The machine becomes half as fast.
    for _ in range(40):
        now = serve(times, 5, 900, now)
    assert times.costs().typical[5] == 900


def test_what_time_is_worth_is_what_was_answered_in_time_lately() -> None:
    times, now = warmed(4, {1: 100, 4: 250}), 0
    assert times.costs().worth == 0
    for _ in range(40):
        times.sent(0, 4, now, [now + 240, now + 250, now + 260, now + 270])
        now += 250
        times.done(0, now)
    assert times.costs().worth == pytest.approx(3 / 250, rel=0.03)
    for number in range(40):
        times.sent(0, 4, now, [now + 1000] * 4)
        now += 500
        times.done(0, now, failed=number % 2 == 0)
    assert times.costs().worth == pytest.approx(4 / 1000, rel=0.05)


def test_a_batch_that_waited_for_another_is_not_charged_for_it_and_a_failed_one_says_nothing() -> None:
    times = ServiceTime(4)
    times.sent(0, 4, 1000)
    times.sent(1, 4, 1010)
    times.done(0, 1100)
    times.done(1, 1200)
    assert times.costs().sure[4] == 100
    times.sent(0, 4, 2000)
    times.done(0, 2001, failed=True)
    assert times.costs().typical[4] == 100
    assert times.idle


def test_batches_that_come_back_together_do_not_seem_to_take_no_time() -> None:
    """After a fail-over, the new engine's batch is held back until the old one has answered the batch before it."""
    times = warmed(2, {1: 100, 2: 150})
    for slot, sent in enumerate((0, 10, 20)):
        times.sent(slot, 2, sent)
    for slot, done in enumerate((400, 401, 402)):
        times.done(slot, done)
    assert min(times.costs().typical[1:]) >= 100


def test_the_engine_is_free_when_it_has_done_what_it_has() -> None:
    times = warmed(2, {1: 100, 2: 150})
    assert times.free_at(5) == 5
    times.sent(0, 2, 1000)
    times.sent(1, 1, 1020)
    assert times.free_at(1030) == 1250
    assert times.free_at(1030, sure=True) > 1250
    # The first is overdue: it will be done at any moment, and the second takes its time after it.
    assert times.free_at(1400) == 1500
    times.done(0, 1410)
    assert times.free_at(1410) == 1510
    times.done(1, 1510)
    assert times.free_at(1510) == 1510


def test_another_engine_is_learnt_anew() -> None:
    """After a deploy or a fail-over; what the old one still answers says nothing about the new one."""
    engines = [{1: 100, 2: 150}, {1: 1000, 2: 1900}]
    times, now = ServiceTime(2, lambda: engines[0]), 0
    for _ in range(40):
        now = serve(times, 1, 110, now)
    assert times.costs().typical[1] == 110
    assert times.measured(1) == 110
    times.sent(0, 1, now)
    del engines[0]
    assert times.costs().typical == (0, 1000, 1900)
    assert times.costs().jitter == (1.0,) * 8
    assert times.measured(1) is None
    times.done(0, now + 110)
    assert times.costs().typical == (0, 1000, 1900)
    for _ in range(40):
        now = serve(times, 1, 900, now + 110)
    assert times.costs().typical[1] == 900
