"""`taktline deploy` and `taktline tell`, to a control socket and to a line that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.protocol.orders import Answer, Order
from pipeline.publish.control import ControlServer
from tests.conftest import RunTaktline
from tests.paths import ROOT


class Orders:
    """A line's control socket, and the orders that came."""

    def __init__(self) -> None:
        self.taken: list[Order] = []
        self._server = ControlServer("tcp://127.0.0.1:*")
        self._server.start(self._obey, lambda name, error: None)
        self.address = self._server.address

    def _obey(self, order: Order) -> Answer:
        self.taken.append(order)
        return {}

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def orders() -> Iterator[Orders]:
    found = Orders()
    yield found
    found.close()


@pytest.mark.parametrize("words", [("-1",), ("-2.5",), ("--", "-100"), ("2.5",)])
def test_a_negative_threshold_is_no_option(
    words: tuple[str, ...], orders: Orders, taktline_in_process: RunTaktline
) -> None:
    done = taktline_in_process("tell", orders.address, "threshold", *words)
    assert done.returncode == 0, done.stderr
    assert [order.threshold for order in orders.taken] == [float(words[-1])]


def test_options_of_tell_are_still_options(orders: Orders, taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process("tell", orders.address, "trigger", "top", "--part", "P3")
    assert done.returncode == 0, done.stderr
    assert orders.taken == [Order(do="trigger", camera="top", part="P3")]


def test_a_bundle_of_another_part_is_deployed_only_where_asked_for(
    orders: Orders, taktline_in_process: RunTaktline, tmp_path: Path
) -> None:
    for words in ((), ("--other-part",)):
        assert taktline_in_process("deploy", tmp_path, "--line", orders.address, *words).returncode == 0
    assert [order.other_part for order in orders.taken] == [False, True]
    assert {order.bundle for order in orders.taken} == {str(tmp_path)}


def test_a_deploy_does_not_wait_for_a_line_that_died(small_bundle_path: Path, tmp_path: Path) -> None:
    """The manifest of the new bundle is a pipe that nobody writes: the line is reading it when it is killed."""
    slow = tmp_path / "slow"
    slow.mkdir()
    os.mkfifo(slow / "manifest.json")
    (tmp_path / "parts").mkdir()
    address = f"ipc://{tmp_path}/control"
    (tmp_path / "line.toml").write_text(
        f'[model]\nbundle = "{small_bundle_path}"\nprecision = "f32"\n[publish]\nverdicts = "tcp://127.0.0.1:*"\n'
        f'[[camera]]\nname = "a"\nsource = "folder:{tmp_path}/parts"\nfollow = true\n[control]\nbind = "{address}"\n'
    )
    taktline = [sys.executable, "-m", "taktline"]
    with subprocess.Popen(
        [*taktline, "run", str(tmp_path / "line.toml")], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as line:
        try:
            assert line.stderr is not None
            assert any("runs:" in row for row in line.stderr)
            command = [*taktline, "deploy", str(slow), "--line", address]
            with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as deploy:
                pipe = await_reader(slow / "manifest.json")
                line.send_signal(signal.SIGKILL)
                _, errors = deploy.communicate(timeout=30)
                os.close(pipe)
                assert deploy.returncode == 2
                assert "went away before it answered" in errors.replace("\n", " ")
        finally:
            line.kill()


def await_reader(pipe: Path) -> int:
    """Waits until somebody has opened a named pipe for reading, and returns its other end."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
