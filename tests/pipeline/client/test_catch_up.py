"""What a subscriber has and missed, without sockets: an imagined line loses, restarts and answers at random."""

from __future__ import annotations

import dataclasses
import random

import pytest

from engines.errors import ConfigError
from pipeline.client.catch_up import CatchUp
from pipeline.client.position import Position
from pipeline.protocol.gap import Gap
from pipeline.protocol.replay import Answer, Received, ReplayRequest, Series
from pipeline.protocol.verdict import Verdict
from tests.pipeline.parts import decide

PAGE = 7


class Book:
    """What a line published and holds: epochs in their order, each with its sequences."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self.damaged: set[tuple[str, str, int]] = set()
        self.epoch, self.sequence = "e0", {"a": 0, "b": 0}

    def publish(self, camera: str) -> Verdict:
        verdict = dataclasses.replace(decide(camera, self.sequence[camera]).verdict, epoch=self.epoch, journaled=True)
        self.sequence[camera] += 1
        self.verdicts.append(verdict)
        return verdict

    def answer(self, request: ReplayRequest) -> Answer:
        if request.do == "series":
            found: dict[tuple[str, str], list[int]] = {}
            for verdict in self.verdicts:
                if not request.cameras or verdict.camera in request.cameras:
                    found.setdefault((verdict.camera, verdict.epoch), []).append(verdict.sequence)
            series = [Series(camera, epoch, min(held), max(held)) for (camera, epoch), held in found.items()]
            return Answer(request.id, tuple(series))
        wanted = [
            verdict
            for verdict in self.verdicts
            if (verdict.camera, verdict.epoch) == (request.camera, request.epoch)
            and request.first <= verdict.sequence <= request.last
        ]
        return Answer(request.id, items=tuple(map(self._item, wanted[:PAGE])), more=len(wanted) > PAGE)

    def _item(self, verdict: Verdict) -> Received | Gap:
        name = verdict.camera, verdict.epoch, verdict.sequence
        return Gap(*name, verdict.sequence, "damaged") if name in self.damaged else (verdict, None)


def take_all(state: CatchUp) -> list[Verdict | Gap]:
    items = [state.hand_over() for _ in range(len(state.ready))]
    return [item if isinstance(item, Gap) else item[0] for item in items]


def take(state: CatchUp) -> list[Verdict]:
    return [item for item in take_all(state) if isinstance(item, Verdict)]


def settle(state: CatchUp, book: Book, now: float) -> float:
    """Answers until nothing is asked any more."""
    for _ in range(200):
        now += 0.3
        request = state.request(now)
        if request is not None:
            state.answered(book.answer(request), now)
    return now


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


def test_pages_that_cannot_be_read_are_asked_for_once() -> None:
    """As of a line that does not tell its gaps: some are dropped on the way, and nothing is asked for twice."""
    book = Book()
    for _ in range(20):
        book.publish("a")
    state = CatchUp((), {}, asks=True)
    asked, now = [], 0.0
    for _ in range(12):
        now += 0.3
        request = state.request(now)
        if request is None:
            continue
        answer = book.answer(request)
        if request.do == "read":
            asked.append(request.first)
            readable = answer.items if request.first >= PAGE else ()
            answer = dataclasses.replace(answer, items=readable, unreadable=len(answer.items) - len(readable))
        state.answered(answer, now)
    assert asked == [0, PAGE, 2 * PAGE]
    assert take_all(state) == [Gap("a", "e0", 0, PAGE - 1, "damaged"), *book.verdicts[PAGE:]]
    assert state.missed == PAGE


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
        with pytest.raises(ConfigError, match="no subscriber's position"):
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
