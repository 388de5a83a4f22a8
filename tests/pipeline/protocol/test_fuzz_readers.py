"""Nonsense for every reader of messages: it raises its own error and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import TaktlineError
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.protocol.event import pack_event, unpack_event
from pipeline.protocol.gap import unpack_gap
from pipeline.protocol.orders import read_order
from pipeline.protocol.replay import request_id, unpack_answer, unpack_request
from pipeline.protocol.verdict import WireError, pack, unpack
from tests.pipeline.protocol.nonsense import (
    ANSWER,
    DECIDED,
    EVENT,
    GAP,
    ORDER,
    QUESTION,
    VERDICT,
    bounded,
    messages,
    multiparts,
)


@bounded
@given(multiparts(VERDICT[1]))
def test_a_reader_of_verdicts_raises_one_error_only(parts: list[bytes]) -> None:
    try:
        verdict, _ = unpack(parts)
    except WireError:
        return
    assert unpack(pack(verdict, None))[0] == verdict


@bounded
@given(multiparts(EVENT))
def test_a_reader_of_events_raises_one_error_only(parts: list[bytes]) -> None:
    try:
        event = unpack_event(parts)
    except WireError:
        return
    assert unpack_event(pack_event(event)) == event


@bounded
@given(
    st.lists(messages(ANSWER) | messages(VERDICT[1]) | messages(GAP), max_size=5),
    messages(QUESTION),
    messages(ORDER),
)
def test_other_readers_do_too(answer: list[bytes], question: bytes, order: bytes) -> None:
    readers: list[Callable[[], Any]] = [
        lambda: unpack_answer(answer),
        lambda: unpack_request(question),
        lambda: request_id(question),
        lambda: unpack_gap(answer[0] if answer else b""),
        lambda: read_order(order),
    ]
    for read in readers:
        try:
            read()
        except TaktlineError:
            continue


def test_a_subscriber_is_sent_nonsense() -> None:
    """By what says it is a line's publisher."""
    context = zmq.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.setsockopt(zmq.LINGER, 0)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    with VerdictSubscriber(f"tcp://127.0.0.1:{port}") as subscriber:
        assert publisher.poll(30_000)
        publisher.recv()

        def receive() -> bool:
            """Whether something came at all."""
            try:
                subscriber.receive(0.01)
            except WireError:
                return True
            except TimeoutError:
                return False
            return True

        @bounded
        @given(multiparts(VERDICT[1]))
        def throw(parts: list[bytes]) -> None:
            publisher.send_multipart([b"verdict.a", *parts])
            receive()

        throw()
        while receive():
            pass
        publisher.send_multipart(VERDICT)
        assert subscriber.receive(30)[0] == DECIDED.verdict
    publisher.close()
    context.term()
