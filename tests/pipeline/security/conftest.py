"""A line's keys and those of its clients, and a publisher behind them."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.protocol.verdict import pack
from pipeline.publish.publisher import PublisherSocket
from pipeline.security.curve import Access, ClientKeys
from pipeline.security.keys import KeyPair, allow, new_pair
from tests.pipeline.protocol.test_verdict import VERDICT


class House:
    """A line's keys, and those of its clients: two that are let in and a stranger."""

    def __init__(self, folder: Path) -> None:
        self.server = new_pair("line", folder)
        self.allowed = folder / "allowed"
        self.access = Access(folder / "line.key_secret", self.allowed)
        pairs = {name: new_pair(name, folder) for name in ("office", "archive", "stranger")}
        for name in ("office", "archive"):
            allow(name, pairs[name].public, self.allowed)
        self.clients = {name: ClientKeys(pair, self.server.public) for name, pair in pairs.items()}

    def strangers(self) -> list[ClientKeys | None]:
        """No key; a key that nobody knows; one that is let in, for another line; a secret that is not its own."""
        office, stranger = self.clients["office"].pair, self.clients["stranger"].pair
        return [
            None,
            self.clients["stranger"],
            ClientKeys(office, stranger.public),
            ClientKeys(KeyPair(office.public, stranger.secret), self.server.public),
        ]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "keys")


@contextmanager
def publishing(
    access: Access, address: str = "tcp://127.0.0.1:*"
) -> Iterator[tuple[PublisherSocket, Callable[[], int]]]:
    """A publisher that sends a verdict every few milliseconds; and a function that says how many it has sent."""
    sent = 0
    over = threading.Event()
    with PublisherSocket(address, access=access) as socket:

        def publish() -> None:
            nonlocal sent
            for sequence in itertools.count():
                if over.wait(0.005):
                    return
                socket.send(pack(dataclasses.replace(VERDICT, sequence=sequence), None))
                sent = sequence + 1

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield socket, lambda: sent
        finally:
            over.set()
            thread.join()


def ended(name: str, error: BaseException) -> None:
    """Takes the failure of a stage that must not fail."""
    raise AssertionError(f"{name} ended") from error
