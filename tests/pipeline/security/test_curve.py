"""Without a key, with a wrong or a revoked one, a client receives nothing; the line goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.errors import ConfigError
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.protocol.verdict import pack
from pipeline.publish.control import ControlServer
from pipeline.publish.publisher import PublisherSocket
from pipeline.security.curve import Access, ClientKeys, is_local
from pipeline.security.keys import AllowList, allow, revoke
from tests.pipeline.parts import Running as Delivering
from tests.pipeline.protocol.test_verdict import VERDICT
from tests.pipeline.security.conftest import House, publishing


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def silent(subscriber: VerdictSubscriber, sent: Callable[[], int], count: int = 100) -> None:
    """Nothing comes while many more verdicts are published."""
    until = sent() + count
    while sent() < until:
        with pytest.raises(TimeoutError):
            subscriber.receive(0.1)


@pytest.mark.usefixtures("no_thread_left")
def test_strangers_receive_nothing(house: House) -> None:
    with publishing(house.access) as (socket, sent):
        with VerdictSubscriber(socket.address, curve=house.clients["office"]) as office:
            first = office.receive(30)[0].sequence
            for keys in house.strangers():
                with VerdictSubscriber(socket.address, curve=keys) as stranger:
                    silent(stranger, sent)
            until = sent()
            received = [first]
            while received[-1] < until:
                received.append(office.receive(30)[0].sequence)
        assert received == list(range(first, first + len(received)))


@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_a_revoked_client_is_cut_off_and_the_others_come_back(house: House, kind: str, tmp_path: Path) -> None:
    address = "tcp://127.0.0.1:*" if kind == "tcp" else f"ipc://{tmp_path / 'verdicts.sock'}"
    with (
        publishing(house.access, address) as (socket, sent),
        VerdictSubscriber(socket.address, curve=house.clients["office"]) as office,
        VerdictSubscriber(socket.address, curve=house.clients["archive"]) as archive,
    ):
        office.receive(30)
        archive.receive(30)
        revoke("office", house.allowed)

        def is_cut_off() -> bool:
            try:
                office.receive(1)
            except TimeoutError:
                return True
            return False

        wait_for(is_cut_off)
        silent(office, sent)
        until = sent()
        wait_for(lambda: archive.receive(30)[0].sequence >= until)
        # Without a restart of either side.
        allow("office", house.clients["office"].pair.public, house.allowed)
        until = sent()
        wait_for(lambda: office.receive(30)[0].sequence >= until)


@pytest.mark.usefixtures("no_thread_left")
def test_who_was_revoked_while_nothing_was_sent_receives_nothing_more(house: House) -> None:
    """Also one that was let in only after the socket was bound."""
    allow("stranger", house.clients["stranger"].pair.public, house.allowed)
    with (
        PublisherSocket("tcp://127.0.0.1:*", access=house.access) as socket,
        VerdictSubscriber(socket.address, curve=house.clients["stranger"]) as stranger,
    ):
        socket.await_subscribers(1, 30, threading.Event())
        socket.send(pack(VERDICT, None))
        assert stranger.receive(30)[0] == VERDICT
        revoke("stranger", house.allowed)
        time.sleep(1.5)
        for _ in range(20):
            socket.send(pack(VERDICT, None))
            time.sleep(0.02)
        with pytest.raises(TimeoutError):
            stranger.receive(1)


@pytest.mark.usefixtures("no_thread_left")
def test_what_was_missed_is_told_to_no_stranger(house: House, tmp_path: Path) -> None:
    """Neither are they answered what they ask the replay; who may subscribe gets it all."""
    publish = {
        "verdicts": "tcp://127.0.0.1:*",
        "replay": "tcp://127.0.0.1:*",
        "curve_secret": house.access.secret,
        "allowed_clients": house.allowed,
    }
    with Delivering(publish, {"path": tmp_path / "line.journal"}) as running:
        running.publish(300)
        assert running.replay is not None
        verdicts, replay = running.socket.address, running.replay.address

        def ask(keys: ClientKeys | None) -> VerdictSubscriber:
            return VerdictSubscriber(verdicts, replay=replay, since={}, curve=keys)

        for keys in house.strangers():
            with ask(keys) as stranger, pytest.raises(TimeoutError):
                stranger.receive(1)
        with ask(house.clients["office"]) as office:
            assert [office.receive(30)[0].sequence for _ in range(300)] == list(range(300))
            revoke("office", house.allowed)
            # It is noticed within moments; what was out before that still comes.
            published, until_then = 300, time.monotonic() + 30
            with pytest.raises(TimeoutError):
                while time.monotonic() < until_then:
                    running.publish(1)
                    published += 1
                    office.receive(2)
                    time.sleep(0.2)
        with ask(house.clients["office"]) as office, pytest.raises(TimeoutError):
            office.receive(1)
        with ask(house.clients["archive"]) as archive:
            assert [archive.receive(30)[0].sequence for _ in range(published)] == list(range(published))


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("ipc:///run/line", True),
        ("tcp://127.0.0.1:5556", True),
        ("tcp://127.9.9.9:5556", True),
        ("tcp://localhost:5556", True),
        ("tcp://[::1]:5556", True),
        ("tcp://*:5556", False),
        ("tcp://0.0.0.0:5556", False),
        ("tcp://[::]:5556", False),
        ("tcp://192.168.0.7:5556", False),
        ("tcp://eth0:5556", False),
        ("tcp://127.0.0.1.example.org:5556", False),
    ],
)
def test_what_only_this_machine_reaches(address: str, local: bool) -> None:
    assert is_local(address) is local


@pytest.mark.usefixtures("no_thread_left")
def test_an_open_socket_is_refused_or_warned_about(caplog: pytest.LogCaptureFixture, house: House) -> None:
    with pytest.raises(ConfigError, match=r"open to everyone.*insecure = true"):
        PublisherSocket("tcp://0.0.0.0:*")
    with pytest.raises(ConfigError, match=r"open to everyone.*under \[control\]"):
        ControlServer("tcp://*:*")
    with caplog.at_level(logging.WARNING), PublisherSocket("tcp://0.0.0.0:*", access=Access(insecure=True)):
        assert "open to everyone" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING), PublisherSocket("tcp://0.0.0.0:*", access=house.access):
        assert not caplog.text
    with pytest.raises(ConfigError, match="allowed_clients' is missing"):
        PublisherSocket("tcp://127.0.0.1:*", access=Access(house.access.secret))
    with pytest.raises(ConfigError, match="curve_secret' is missing"):
        PublisherSocket("tcp://127.0.0.1:*", access=Access(allowed=house.allowed))
    with pytest.raises(ConfigError, match="does not exist"):
        PublisherSocket("tcp://127.0.0.1:*", access=Access(house.access.secret, house.allowed / "none"))


@pytest.mark.usefixtures("no_thread_left")
def test_keys_on_a_disk_that_hangs_hold_nobody_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was allowed still gets in, and the socket closes."""
    hanging, over = threading.Event(), threading.Event()
    keys = AllowList.keys

    def hang(clients: AllowList) -> frozenset[bytes]:
        if hanging.is_set():
            over.wait(60)
        return keys(clients)

    monkeypatch.setattr(AllowList, "keys", hang)
    try:
        with publishing(house.access) as (socket, sent):
            with VerdictSubscriber(socket.address, curve=house.clients["office"]) as office:
                office.receive(30)
            hanging.set()
            with VerdictSubscriber(socket.address, curve=house.clients["archive"]) as archive:
                archive.receive(30)
            with VerdictSubscriber(socket.address, curve=house.clients["stranger"]) as stranger:
                silent(stranger, sent)
            began = time.monotonic()
        assert time.monotonic() - began < 10
    finally:
        over.set()
