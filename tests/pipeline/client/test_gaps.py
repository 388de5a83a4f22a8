"""What can no longer be had is told in its place, and nothing is asked for again and again."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest

from pipeline.client.catch_up import CatchUp
from pipeline.client.position import Position
from pipeline.protocol.gap import Gap
from pipeline.protocol.replay import Answer, ReplayRequest
from pipeline.protocol.verdict import Verdict
from tests.pipeline.client.book import PAGE, Book, settle, take_all


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_verdict_becomes_a_gap_in_its_place(seed: int) -> None:
    rng = random.Random(seed)
    book = Book()
    for _ in range(100):
        verdict = book.publish("a")
        if rng.random() < 0.3:
            book.damaged.add(("a", verdict.epoch, verdict.sequence))
        if rng.random() < 0.05:
            book.epoch = f"e{int(book.epoch[1:]) + 1}"
    position: Position = {}
    got: list[Verdict | Gap] = []
    for _ in range(4):
        # Stopped after some of them, and started again.
        state = CatchUp((), position, asks=True)
        settle(state, book, 0.0)
        for _ in range(rng.randrange(30)):
            item = state.hand_over()
            got.append(item if isinstance(item, Gap) else item[0])
        position = state.position
    state = CatchUp((), position, asks=True)
    settle(state, book, 0.0)
    got += take_all(state)
    want = [
        Gap("a", verdict.epoch, verdict.sequence, verdict.sequence, "damaged") if name in book.damaged else verdict
        for verdict in book.verdicts
        for name in [("a", verdict.epoch, verdict.sequence)]
    ]
    assert got == want


def answer_requests(
    state: CatchUp, book: Book, rounds: int, spoil: Callable[[int, ReplayRequest, Answer], Answer]
) -> None:
    """Lets a line answer what a subscriber asks for; `spoil` may change what a read gets, and is told the round."""
    now = 0.0
    for number in range(rounds):
        now += 0.3
        request = state.request(now)
        if request is not None:
            answer = book.answer(request)
            state.answered(spoil(number, request, answer) if request.do == "read" else answer, now)


def test_pages_that_cannot_be_read_are_asked_for_once() -> None:
    """As of a line that does not tell its gaps: some are dropped on the way, and nothing is asked for twice."""
    book = Book()
    for _ in range(20):
        book.publish("a")
    state = CatchUp((), {}, asks=True)
    asked = []

    def drop_first_page(_number: int, request: ReplayRequest, answer: Answer) -> Answer:
        asked.append(request.first)
        readable = answer.items if request.first >= PAGE else ()
        return dataclasses.replace(answer, items=readable, unreadable=len(answer.items) - len(readable))

    answer_requests(state, book, 12, drop_first_page)
    assert asked == [0, PAGE, 2 * PAGE]
    assert take_all(state) == [Gap("a", "e0", 0, PAGE - 1, "damaged"), *book.verdicts[PAGE:]]
    assert state.missed == PAGE


@pytest.mark.parametrize("seed", range(10))
def test_no_answer_makes_it_ask_for_ever(seed: int) -> None:
    """Whatever a broken line answers, verdicts come in order, and what is left out is told."""
    book = Book()
    for _ in range(60):
        book.publish("a")
        book.publish("b")
    state = CatchUp((), {"a": 9}, asks=True)
    read_in = []

    def spoil(number: int, request: ReplayRequest, answer: Answer) -> Answer:
        read_in.append(number)
        # The same request always gets the same answer.
        rng = random.Random(f"{seed} {request.camera} {request.first}")
        if rng.random() >= 0.7:
            return answer
        items = [(verdict, None) for verdict in rng.sample(book.verdicts, 5)]
        return Answer(request.id, items=tuple(items), unreadable=rng.randrange(3), more=rng.random() < 0.9)

    answer_requests(state, book, 1000, spoil)
    assert read_in[-1] < 900
    places = {"a": 10, "b": 0}
    for item in take_all(state):
        first, last = (item.first, item.last) if isinstance(item, Gap) else (item.sequence, item.sequence)
        assert first == places[item.camera]
        places[item.camera] = last + 1
    assert places == {"a": 60, "b": 60}


def test_what_the_journal_no_longer_holds_is_counted() -> None:
    book = Book()
    for _ in range(30):
        book.publish("a")
    del book.verdicts[:20]
    state = CatchUp((), {"a": {"epoch": "e0", "sequence": 4}}, asks=True)
    settle(state, book, 0.0)
    assert take_all(state) == [Gap("a", "e0", 5, 19, "gone"), *book.verdicts]
    assert state.missed == 15


def test_without_a_replay_it_goes_on_over_gaps_and_tells_them() -> None:
    book = Book()
    sent = [book.publish("a") for _ in range(10)]
    state = CatchUp((), None, asks=False)
    for index in (2, 3, 3, 7, 5, 8):
        state.arrived((sent[index], None), 0.0)
    assert take_all(state) == [sent[2], sent[3], Gap("a", "e0", 4, 6, "gone"), sent[7], sent[8]]
    assert state.missed == 3
    assert state.request(5.0) is None
