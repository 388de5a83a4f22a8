"""Requests to the replay and its answers: gaps have a place in a page, and a refusal names its request."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgpack
import pytest

from pipeline.protocol.entry import Entry
from pipeline.protocol.gap import Gap, checked, pack_gap, unpack_gap
from pipeline.protocol.replay import (
    ReplayRequest,
    pack_page,
    pack_refusal,
    request_id,
    unpack_answer,
    unpack_request,
)
from pipeline.protocol.verdict import WireError, pack
from tests.pipeline.parts import decide

REQUEST = ReplayRequest.model_validate({"id": 42, "do": "read", "camera": "a", "epoch": "5f0c", "to": 9})


def entry(number: int, **changes: Any) -> Entry:
    """A row of a journal; `changes` are to the verdict's body."""
    decided = decide("a", number, "ng")
    parts = pack(dataclasses.replace(decided.verdict, epoch="5f0c", journaled=True), decided.heatmap)
    body = msgpack.packb(msgpack.unpackb(parts[1]) | changes)
    return Entry("5f0c", "a", number, decided.verdict.captured_at, "ng", body, parts[2])


def with_columns(row: Entry, **columns: Any) -> Entry:
    return dataclasses.replace(row, **columns)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (entry(3), None),
        (dataclasses.replace(entry(3), body=b"\xc1" * 50), "damaged"),
        (dataclasses.replace(entry(3), body=entry(3).body[:-9]), "damaged"),
        (dataclasses.replace(entry(3), heatmap=b"123"), "damaged"),
        # SQLite puts any type into any column.
        (with_columns(entry(3), body=None), "damaged"),
        (with_columns(entry(3), body="text"), "damaged"),
        (with_columns(entry(3), heatmap=7), "damaged"),
        # Whole, but not what the row says it is.
        (entry(3, sequence=4), "damaged"),
        (entry(3, camera="b"), "damaged"),
        (entry(3, epoch="0"), "damaged"),
        (entry(3, v=1), "version"),
        (entry(3, v=99, what="is new"), "version"),
    ],
)
def test_a_row_that_nobody_can_read_is_a_gap(row: Entry, why: Any) -> None:
    assert checked(row) == (row if why is None else Gap("a", "5f0c", 3, 3, why))


def test_gaps_stand_in_their_place_and_those_in_a_row_are_one() -> None:
    damaged = dataclasses.replace(entry(0), body=b"")
    rows = [dataclasses.replace(damaged, sequence=0), dataclasses.replace(damaged, sequence=1), entry(2, v=1), entry(3)]
    rows += [dataclasses.replace(damaged, sequence=4)]
    answer = unpack_answer(pack_page(REQUEST, [checked(row) for row in rows], more=True))
    assert (answer.id, answer.more, answer.unreadable) == (42, True, 0)
    first, older, item, last = answer.items
    assert first == Gap("a", "5f0c", 0, 1, "damaged")
    assert older == Gap("a", "5f0c", 2, 2, "version")
    assert not isinstance(item, Gap) and item[0].sequence == 3 and item[1] is not None
    assert last == Gap("a", "5f0c", 4, 4, "damaged")


def test_what_is_neither_a_verdict_nor_a_gap_is_left_out_of_a_page() -> None:
    header, *items = pack_page(REQUEST, [entry(1), entry(2)], more=False)
    answer = unpack_answer([header, b"\xc1", b"", *items])
    assert len(answer.items) == 2 and answer.unreadable == 1


@pytest.mark.parametrize(
    "change",
    [
        {"gap": False},
        {"gap": 1},
        {"from": -1},
        {"from": 10},
        {"to": 2**63},
        {"to": True},
        {"why": "tired"},
        {"camera": "../a"},
        {"epoch": "' OR 1"},
        {"more": 1},
    ],
)
def test_what_is_no_gap_is_refused(change: dict[str, Any]) -> None:
    gap = Gap("a", "5f0c", 3, 9, "gone")
    assert unpack_gap(pack_gap(gap)) == gap
    assert gap.count == 7
    with pytest.raises(WireError):
        unpack_gap(msgpack.packb(msgpack.unpackb(pack_gap(gap)) | change))


@pytest.mark.parametrize(
    ("change", "number"),
    [
        ({}, 42),
        ({"v": 1}, 42),
        ({"do": "sing"}, 42),
        ({"to": -1}, 42),
        ({"more": 1}, 42),
        ({"id": True}, 0),
        ({"id": -1}, 0),
    ],
)
def test_a_refusal_names_its_request(change: dict[str, Any], number: int) -> None:
    message = msgpack.packb(msgpack.unpackb(REQUEST.pack()) | change)
    assert request_id(message) == number
    answer = unpack_answer(pack_refusal(request_id(message), "later", 0.1))
    assert (answer.id, answer.retry_s) == (number, 0.1)
    with pytest.raises(WireError, match="the replay refused: never"):
        unpack_answer(pack_refusal(number, "never"))
    if change:
        with pytest.raises(WireError, match="the replay cannot answer this"):
            unpack_request(message)


@pytest.mark.parametrize("message", [b"", b"\xc1", b"\x91" * 5000, msgpack.packb([1]), msgpack.packb({1: 2})])
def test_nonsense_has_no_id(message: bytes) -> None:
    assert request_id(message) == 0
