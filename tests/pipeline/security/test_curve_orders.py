"""Without a key nobody gives orders, and a line whose clients are no longer checked goes down."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import msgpack
import pytest
import zmq

from engines.errors import LineDown, TaktlineError
from pipeline.client.orders import tell_line
from pipeline.config.line_file import LineConfig, check_config
from pipeline.config.lines_file import read_lines_file
from pipeline.fleet.fleet import Fleet
from pipeline.line.build import build_line
from pipeline.protocol.orders import Order
from pipeline.publish.control import ControlServer
from pipeline.security.keys import AllowList, revoke
from tests.conftest import RunTaktline
from tests.pipeline.publish.test_control import Running, played
from tests.pipeline.security.conftest import House, ended


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
        with pytest.raises(LineDown, match=r"'control' failed .*admits clients has died"):
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
        "line": {"name": "press4", "takt_ms": 60_000},
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
        assert "allows your key" in refused.stderr.replace("\n", " ")
        assert taktline("tell", orders, "threshold", *options, "100").returncode == 2
        assert taktline("tell", orders, "threshold", "100").returncode == 2
        assert {verdict.verdict for verdict in running.more()} == {"ng"}
        running.close()


def test_a_fleet_gives_each_line_the_key_that_its_file_names(house: House, tmp_path: Path) -> None:
    def obey(order: Order) -> dict[str, object]:
        return {"status": {"did": order.do}}

    with ControlServer("tcp://127.0.0.1:*", house.access) as locked, ControlServer("tcp://127.0.0.1:*") as free:
        locked.start(obey, ended)
        free.start(obey, ended)
        file = tmp_path / "fleet.toml"
        file.write_text("".join(
            f'[[line]]\nname = "{name}"\ncontrol = "{server.address}"\n' + (
                f'key = "keys/{key}.key_secret"\nserver_key = "keys/line.key"\n' if key else ""
            )
            for name, server, key in (("a", locked, "office"), ("b", locked, "stranger"), ("c", free, ""))
        ))  # fmt: skip
        with Fleet(read_lines_file(file, "fleet file")) as fleet:
            replies = fleet.give(dict.fromkeys("abc", Order(do="pause")), 1.0)
    assert {name: reply.came for name, reply in replies.items()} == {"a": "done", "b": "not reached", "c": "done"}
    assert replies["a"].status == replies["c"].status == {"did": "pause"}
