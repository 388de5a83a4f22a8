"""What a subscriber has and missed, without sockets: verdicts come once and in order, whatever a line loses."""

from __future__ import annotations

import dataclasses
import random

import pytest

from engines.errors import ConfigError
from pipeline.client.catch_up import CatchUp
from pipeline.client.position import Position
from pipeline.protocol.replay import Answer
from pipeline.protocol.verdict import Verdict
from tests.pipeline.client.book import Book, settle, take


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_lost_on_the_way_each_comes_once_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    book = Book()
    for _ in range(rng.randrange(20)):
        book.publish("a")
    position: Position = {}
    got: list[Verdict] = []
    now = 0.0
    state = CatchUp((), position, asks=True)
    for _ in range(400):
        now += rng.random() * 0.5
        verdict = book.publish(rng.choice("aab"))
        if rng.random() < 0.7:
            state.arrived((verdict, None), now)
        request = state.request(now)
        if request is not None and rng.random() < 0.8:
            answer = book.answer(request)
            if rng.random() < 0.1:
                answer = Answer(0, retry_s=0.1)
            state.answered(answer, now)
        got += take(state)
        if rng.random() < 0.02:
            # The line's disk failed, or its journal was replaced.
            book.epoch = f"e{int(book.epoch[1:]) + 1}"
            if rng.random() < 0.5:
                book.sequence = {"a": 0, "b": 0}
        if rng.random() < 0.02:
            state = CatchUp((), state.position, asks=True)
    settle(state, book, now)
    got += take(state)
    for camera in "ab":
        assert [v for v in got if v.camera == camera] == [v for v in book.verdicts if v.camera == camera]
    assert state.missed == 0


def test_an_epoch_that_ended_with_a_crash_is_left_for_the_one_before() -> None:
    """Verdicts that were never journaled do not come again, and nobody mistakes the next ones for them."""
    book = Book()
    state = CatchUp((), {}, asks=True)
    before = [book.publish("a") for _ in range(3)]
    now = settle(state, book, 0.0)
    lost = [dataclasses.replace(before[-1], epoch="f0", sequence=number, journaled=False) for number in (3, 4)]
    for verdict in lost:
        state.arrived((verdict, None), now)
    now = settle(state, book, now)
    assert take(state) == [*before, *lost]
    again = CatchUp((), state.position, asks=True)
    after = [book.publish("a") for _ in range(3)]
    for each in (state, again):
        each.arrived((after[2], None), now)
        settle(each, book, now)
        assert take(each) == after


def test_one_that_begins_while_the_disk_is_full_is_not_told_the_past() -> None:
    book = Book()
    for _ in range(20):
        book.publish("a")
    state = CatchUp((), None, asks=True)
    live = dataclasses.replace(book.verdicts[-1], epoch="f0", sequence=20, journaled=False)
    state.arrived((live, None), 0.0)
    now = settle(state, book, 0.0)
    assert take(state) == [live]
    again = CatchUp((), state.position, asks=True)
    after = [book.publish("a") for _ in range(3)]
    state.arrived((after[2], None), now)
    for each in (state, again):
        settle(each, book, now)
    assert take(state) == after
    assert take(again) == after


def test_what_is_no_position_is_told() -> None:
    for nonsense in ({"a": "x"}, {"a": {"epoch": "e0"}}, [1], {"a": {"epoch": "e0", "sequence": "x"}}):
        with pytest.raises(ConfigError, match="is not a subscriber's position"):
            CatchUp((), nonsense, asks=True)  # type: ignore[arg-type]


def test_from_now_on_begins_with_the_newest_and_misses_nothing_after_it() -> None:
    book = Book()
    for _ in range(10):
        book.publish("a")
    state = CatchUp((), None, asks=True)
    now = settle(state, book, 0.0)
    assert take(state) == []
    missed, came = book.publish("a"), book.publish("a")
    other = book.publish("b")
    state.arrived((came, None), now)
    settle(state, book, now)
    assert sorted(take(state), key=lambda verdict: verdict.camera) == [missed, came, other]


def test_a_plain_number_counts_in_the_newest_epoch() -> None:
    book = Book()
    for _ in range(10):
        book.publish("a")
    book.epoch, book.sequence["a"] = "e1", 0
    new = [book.publish("a") for _ in range(10)]
    state = CatchUp((), {"a": 4}, asks=True)
    assert state.position == {"a": 4}
    settle(state, book, 0.0)
    assert take(state) == new[5:]


def test_other_cameras_flow_while_one_catches_up() -> None:
    book = Book()
    state = CatchUp((), {}, asks=True)
    now = settle(state, book, 0.0)
    b = [book.publish("b")]
    book.publish("a")
    now = settle(state, book, now)
    assert len(take(state)) == 2
    a = [book.publish("a") for _ in range(3)]
    late = a.pop()
    b.append(book.publish("b"))
    state.arrived((b[1], None), now)
    assert take(state) == [b[1]]
    settle(state, book, now)
    assert take(state) == [*a, late]
    assert state.missed == 0
