"""Who has no key, a wrong one or a revoked one receives nothing and gives no orders; the line does not mind."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest
import zmq

from engines.errors import ConfigError, LineDown, TaktlineError
from pipeline.client.orders import tell_line
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.line_file import LineConfig, check_config
from pipeline.line.build import build_line
from pipeline.protocol.orders import Order
from pipeline.protocol.verdict import pack
from pipeline.publish.control import ControlServer
from pipeline.publish.publisher import PublisherSocket
from pipeline.security.curve import Access, ClientKeys, is_local
from pipeline.security.keys import AllowList, KeyPair, allow, new_pair, revoke
from tests.conftest import RunTaktline
from tests.pipeline.parts import Running as Delivering
from tests.pipeline.protocol.test_verdict import VERDICT
from tests.pipeline.publish.test_control import Running, played


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
            time.sleep(1.5)
            running.publish(1)
            with pytest.raises(TimeoutError):
                office.receive(2)
        with ask(house.clients["office"]) as office, pytest.raises(TimeoutError):
            office.receive(1)
        with ask(house.clients["archive"]) as archive:
            assert [archive.receive(30)[0].sequence for _ in range(301)] == list(range(301))


def ended(name: str, error: BaseException) -> None:
    raise AssertionError(f"{name} ended") from error


@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_takes_orders_with_keys_does_not_go_on_without_its_door(
    house: House, bundle_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = house.allowed.with_name("orders")
    shutil.copytree(house.allowed, orders)
    keys = AllowList.keys

    def broken(clients: AllowList) -> frozenset[bytes]:
        if clients.folder == orders:
            raise RuntimeError("the list of clients is broken")
        return keys(clients)

    values = {
        "model": {"bundle": bundle_path, "engine": "torch", "precision": "f32", "max_batch": 1},
        "camera": [{"name": "top", "source": f"replay:{drawn}", "fps": 0.2}],
        "publish": {
            "verdicts": "tcp://127.0.0.1:*",
            "curve_secret": house.access.secret,
            "allowed_clients": house.allowed,
        },
        "control": {"bind": "tcp://127.0.0.1:*", "allowed_clients": orders},
    }
    with build_line(LineConfig.model_validate(values)) as line:
        line.start()
        assert not line.wait(1)
        monkeypatch.setattr(AllowList, "keys", broken)
        with pytest.raises(LineDown, match=r"'control' failed .*lets clients in has died"):
            line.wait(60)
        assert not line.status()["live"]


@pytest.mark.usefixtures("no_thread_left")
def test_orders_need_a_key(house: House) -> None:
    obeyed: list[Order] = []

    def obey(order: Order) -> dict[str, object]:
        obeyed.append(order)
        return {"status": {}}

    with ControlServer("tcp://127.0.0.1:*", house.access) as server:
        server.start(obey, ended)
        office = house.clients["office"]
        assert tell_line(server.address, Order(do="pause"), curve=office) == {"status": {}}
        for keys in house.strangers():
            with pytest.raises(TaktlineError, match="no line takes orders"):
                tell_line(server.address, Order(do="resume"), 1000, curve=keys)
        assert [order.do for order in obeyed] == ["pause"]
        context = zmq.Context()
        socket = context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 2000)
        office.apply(socket)
        socket.connect(server.address)
        socket.send(msgpack.packb(Order(do="pause").model_dump()))
        assert msgpack.unpackb(socket.recv())["ok"]
        revoke("office", house.allowed)
        time.sleep(1.5)
        socket.send(msgpack.packb(Order(do="resume").model_dump()))
        with pytest.raises(zmq.Again):
            socket.recv()
        socket.close()
        context.term()
        assert [order.do for order in obeyed] == ["pause", "pause"]
        assert tell_line(server.address, Order(do="status"), curve=house.clients["archive"]) == {"status": {}}


def test_a_line_with_keys_and_strangers_at_both_its_doors(
    bundle_path: Path, drawn: Path, house: House, taktline: RunTaktline, tmp_path: Path
) -> None:
    """It answers for every frame in order, whoever knocks, comes, or is revoked."""
    values = {
        "line": {"name": "press4", "takt_ms": 5000},
        "model": {"bundle": str(bundle_path), "precision": "f32", "max_batch": 2},
        "camera": [{"name": "a", "source": f"replay:{drawn}", "on_overload": "drop_oldest"}],
        "publish": {
            "verdicts": "tcp://0.0.0.0:*",
            "curve_secret": str(house.access.secret),
            "allowed_clients": str(house.allowed),
        },
        "control": {"bind": "tcp://0.0.0.0:*", "allowed_clients": str(house.allowed)},
    }
    folder = tmp_path / "keys"
    options = ("--key", folder / "office.key_secret", "--server-key", folder / "line.key")
    with played(check_config(values, "test")) as line:
        running = Running(line)
        orders = running.address.replace("0.0.0.0", "127.0.0.1")
        verdicts = line.publisher.address.replace("0.0.0.0", "127.0.0.1")
        running.more(1)
        told = taktline("tell", orders, "threshold", *options, "--", "-100")
        assert told.returncode == 0, told.stderr
        assert {verdict.verdict for verdict in running.more()} == {"ng"}
        watched = taktline("watch", verdicts, "--count", 3, "--timeout", 60, "--json", *options)
        assert watched.returncode == 0, watched.stderr
        seen = [json.loads(row) for row in watched.stdout.splitlines()]
        assert [row["threshold"] for row in seen] == [-100, -100, -100]
        revoked = taktline("keys", "revoke", "office", "--allowed", house.allowed)
        assert revoked.returncode == 0
        refused = taktline("watch", verdicts, "--count", 1, "--timeout", 3, *options)
        assert refused.returncode == 2
        assert "let you in" in refused.stderr.replace("\n", " ")
        assert taktline("tell", orders, "threshold", *options, "100").returncode == 2
        assert taktline("tell", orders, "threshold", "100").returncode == 2
        assert {verdict.verdict for verdict in running.more()} == {"ng"}
        running.close()


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
    with pytest.raises(ConfigError, match=r"open to everybody.*insecure = true"):
        PublisherSocket("tcp://0.0.0.0:*")
    with pytest.raises(ConfigError, match=r"open to everybody.*under \[control\]"):
        ControlServer("tcp://*:*")
    with caplog.at_level(logging.WARNING), PublisherSocket("tcp://0.0.0.0:*", access=Access(insecure=True)):
        assert "open to everybody" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING), PublisherSocket("tcp://0.0.0.0:*", access=house.access):
        assert not caplog.text
    with pytest.raises(ConfigError, match="allowed_clients' is missing"):
        PublisherSocket("tcp://127.0.0.1:*", access=Access(house.access.secret))
    with pytest.raises(ConfigError, match="curve_secret' is missing"):
        PublisherSocket("tcp://127.0.0.1:*", access=Access(allowed=house.allowed))
    with pytest.raises(ConfigError, match="is not there"):
        PublisherSocket("tcp://127.0.0.1:*", access=Access(house.access.secret, house.allowed / "none"))
