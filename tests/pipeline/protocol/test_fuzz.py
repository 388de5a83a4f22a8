"""Nonsense at every socket that a line binds: nothing crashes, nothing grows, nothing stalls."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.client.orders import tell_line
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.protocol.orders import Order
from pipeline.publish.control import ControlServer
from pipeline.publish.publisher import PublisherSocket
from tests.pipeline.parts import Running, until
from tests.pipeline.protocol.nonsense import (
    DECIDED,
    ORDER,
    QUESTION,
    VERDICT,
    bounded,
    damaged,
    liars,
    multiparts,
)
from tests.pipeline.security.conftest import House

_GROWTH = 64 << 20


class Server:
    """All that a line binds, and somebody who receives its verdicts."""

    def __init__(self, folder: Path) -> None:
        self.obeyed: list[Order] = []
        publish = {"verdicts": "tcp://127.0.0.1:*", "replay": "tcp://127.0.0.1:*"}
        self.running = Running(publish, {"path": folder / "line.journal"})
        self.control = ControlServer("tcp://127.0.0.1:*")
        self.control.start(self._obey, self._failed)
        assert self.running.replay is not None
        self.verdicts = self.running.socket.address
        self.replay = self.running.replay.address
        self.subscriber = VerdictSubscriber(self.verdicts, replay=self.replay, since={})
        self.received = 0

    def _obey(self, order: Order) -> dict[str, Any]:
        self.obeyed.append(order)
        return {"status": {}}

    def _failed(self, name: str, error: BaseException) -> None:
        raise AssertionError(f"{name} ended") from error

    def works(self) -> None:
        """Verdicts come, orders are taken, and what was missed is answered."""
        self.running.publish(20)
        for _ in range(20):
            assert self.subscriber.receive(60)[0].sequence == self.received
            self.received += 1
        assert tell_line(self.control.address, Order(do="status"), 60_000) == {"status": {}}
        with VerdictSubscriber(self.verdicts, replay=self.replay, since={"a": self.received - 6}) as late:
            missed = [late.receive(60)[0].sequence for _ in range(5)]
        assert missed == list(range(self.received - 5, self.received))

    def close(self) -> None:
        self.subscriber.close()
        self.control.close()
        self.running.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("fuzz"))
    found.works()
    yield found
    found.close()


@contextmanager
def raw_socket(kind: int, address: str) -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    sender = context.socket(kind)
    sender.setsockopt(zmq.LINGER, 0)
    sender.setsockopt(zmq.SNDTIMEO, 30_000)
    sender.connect(address)
    try:
        yield sender
    finally:
        sender.close()
        context.term()


def drain(sender: zmq.Socket[bytes], wait_ms: int = 0) -> list[list[bytes]]:
    came = []
    while sender.poll(wait_ms):
        came.append(sender.recv_multipart())
    return came


def throw_bytes(port: int, greeting: bytes) -> None:
    """Throws bytes at a port, some of them after the beginning of a greeting."""

    @settings(bounded, max_examples=60)
    @given(st.binary(max_size=600), st.integers(0, len(greeting)))
    def throw(data: bytes, of_greeting: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            try:
                connection.sendall(greeting[:of_greeting] + data)
            except OSError:
                # It hung up on us: so it should.
                return

    throw()


def throw_messages(sender: zmq.Socket[bytes], good: bytes) -> None:
    """Throws messages like a good one at a socket, with and without an envelope, and in more parts than one."""

    @bounded
    @given(multiparts(good), st.booleans())
    def throw(parts: list[bytes], envelope: bool) -> None:
        sender.send_multipart([b"", *parts] if envelope else parts or [b""])
        drain(sender)

    throw()


def test_orders(server: Server) -> None:
    with raw_socket(zmq.DEALER, server.control.address) as sender:
        throw_messages(sender, ORDER)
        sender.send_multipart([b"", b"over"])
        until(lambda: any(b"this is not an order" in parts[-1] for parts in drain(sender, 100)))
    server.works()


def test_questions(server: Server) -> None:
    with raw_socket(zmq.DEALER, server.replay) as sender:
        throw_messages(sender, QUESTION)
        sender.send(b"over")
        until(lambda: bool(drain(sender, 100)))
    server.works()


def test_subscriptions(server: Server) -> None:
    with raw_socket(zmq.XSUB, server.verdicts) as sender:

        @bounded
        @given(st.lists(st.binary(max_size=300) | damaged(b"\x01verdict.a") | liars, max_size=5))
        def throw(parts: list[bytes]) -> None:
            sender.send_multipart(parts or [b""])
            drain(sender)

        throw()
        server.works()


@pytest.mark.parametrize("which", ["verdicts", "replay", "control"])
def test_bytes_that_are_not_even_zeromq(server: Server, which: str) -> None:
    address = server.control.address if which == "control" else getattr(server, which)
    port = int(address.rpartition(":")[2])
    throw_bytes(port, b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48))
    server.works()


def test_bytes_at_a_door_with_keys(tmp_path: Path) -> None:
    house = House(tmp_path / "keys")
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(47) + b"\x04\xc8\x05HELLO\x01\x00"
    with PublisherSocket("tcp://127.0.0.1:*", access=house.access) as door:
        port = int(door.address.rpartition(":")[2])
        throw_bytes(port, greeting)
        with VerdictSubscriber(door.address, curve=house.clients["office"]) as office:
            door.await_subscribers(1, 60, threading.Event())
            door.send(VERDICT)
            assert office.receive(60)[0] == DECIDED.verdict


@pytest.mark.serial
def test_nothing_grows(server: Server) -> None:
    """Much of what is too large, too deep or too often: memory, files and threads are afterwards what they were."""
    process = psutil.Process(os.getpid())
    large, deep = bytes(1 << 20), b"\x91" * 60_000

    def burst() -> None:
        doors = server.control.address, server.replay
        with raw_socket(zmq.DEALER, doors[0]) as orders, raw_socket(zmq.DEALER, doors[1]) as questions:
            for _ in range(100):
                for sender in (orders, questions):
                    sender.send_multipart([b"", deep])
                    sender.send_multipart([b""] * 300)
                    sender.send_multipart([b"", large])
                    drain(sender)
        with raw_socket(zmq.XSUB, server.verdicts) as topics:
            for number in range(30_000):
                topics.send(b"\x01verdict." + number.to_bytes(4, "big") * 10)
                if number % 1000 == 0:
                    server.running.publish(1)
                    assert server.subscriber.receive(60)[0].sequence == server.received
                    server.received += 1
                    drain(topics)
                    assert server.running.socket._subscriptions < 11_000
        server.works()

    burst()
    memory, files, threads = process.memory_info().rss, process.num_fds(), process.num_threads()
    for _ in range(3):
        burst()
    until(lambda: process.num_fds() <= files + 3)
    until(lambda: process.num_threads() <= threads)
    assert process.memory_info().rss - memory < _GROWTH
    time.sleep(0.1)
    server.works()
