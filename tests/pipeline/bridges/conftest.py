"""A running line, and bridges from it as processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.pipeline.parts import Running

KILLED = -signal.SIGKILL


class BridgeProcess:
    """`taktline bridge` in a process of its own."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._command = [sys.executable, "-m", "taktline", "bridge", *map(str, arguments), "--oldest"]
        self._log = folder / "bridge.log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=ROOT)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns how it ended."""
        assert self._process.poll() is None, self._log.read_text()
        self._process.send_signal(number)
        return self._process.wait(60)

    def ended(self) -> str:
        """Waits until it ends by itself, and returns what it said."""
        assert self._process.wait(60) == 2, self._log.read_text()
        return " ".join(self._log.read_text().split())

    def kill(self) -> None:
        """Leaves nothing behind, whatever failed."""
        self._process.kill()
        self._process.wait(60)


OpenBridge = Callable[..., BridgeProcess]


@pytest.fixture
def open_bridge(running: Running, tmp_path: Path) -> Iterator[OpenBridge]:
    with ExitStack() as stack:

        def start(*arguments: object) -> BridgeProcess:
            assert running.replay is not None
            places = ("--from", running.socket.address, "--replay", running.replay.address)
            bridge = BridgeProcess(tmp_path, *arguments, *places, "--position", tmp_path / "position.json")
            stack.callback(bridge.kill)
            return bridge

        yield start


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    publish = {"verdicts": "tcp://127.0.0.1:*", "replay": "tcp://127.0.0.1:*"}
    with Running(publish, {"path": tmp_path / "line.journal"}) as delivery:
        yield delivery


def publish_slowly(running: Running, count: int) -> threading.Thread:
    """Publishes so many verdicts over some seconds: there is time to kill somebody meanwhile."""

    def publish() -> None:
        for _ in range(count // 10):
            running.publish(10)
            time.sleep(0.02)

    thread = threading.Thread(target=publish)
    thread.start()
    return thread
