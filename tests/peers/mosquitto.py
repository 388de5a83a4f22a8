"""A real MQTT broker in a process of its own, which can be killed and comes back with what it had."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

_CONFIG = """
per_listener_settings true
user root
listener {port} 127.0.0.1
persistence true
persistence_location {folder}/
autosave_interval 1
autosave_on_changes true
max_inflight_messages 0
max_queued_messages 0
"""


def needed(program: str, package: str) -> str:
    """The path of a program, or a skip that says which package has it."""
    # Debian keeps brokers in a folder that is not on everybody's path.
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"no {program}; install the package '{package}' to run this test")
    return found


class Mosquitto:
    """A broker on a free port.

    Args:
        folder: where it keeps its file and its messages.
        extra: further lines of its configuration.
        open_port: a second port that the further lines open; None if they open none.
    """

    def __init__(self, folder: Path, extra: str = "allow_anonymous true\n", open_port: int | None = None) -> None:
        self._program = needed("mosquitto", "mosquitto")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._ports = (self.port,) if open_port is None else (self.port, open_port)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(_CONFIG.format(port=self.port, folder=folder) + extra)
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it listens on every port."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self._config)], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        waiting = list(self._ports)
        while waiting:
            try:
                socket.create_connection(("127.0.0.1", waiting[0]), 1).close()
                waiting.pop(0)
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)
