"""A dashboard beside a measured line, with browsers that look at it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure.line_process import LineProcess
from engines.closing import Closing, closed_on_error
from engines.errors import TaktlineError
from engines.extras import require

PREVIEWS_PER_S = 5
_BROWSER = "chromium"
_START_S, _END_S, _POLL_S = 60.0, 20.0, 0.2


class DashboardProcess(Closing):
    """A dashboard that watches a line, in a process of its own, and browsers without a window. A context manager.

    Args:
        line: the line, which should make previews.
        pages: number of browsers that keep the live page open.

    Attributes:
        address: of the live page.

    Raises:
        TaktlineError: there is no Chromium, a package is not installed, or the dashboard did not start.
    """

    def __init__(self, line: LineProcess, pages: int) -> None:
        psutil = require("psutil", "bench")
        for package in ("nicegui", "argon2"):
            require(package, "dashboard")
        if shutil.which(_BROWSER) is None:
            raise TaktlineError(f"there is no {_BROWSER} to look at the dashboard; install it")
        self._stack = ExitStack()
        with closed_on_error(self._stack):
            root = Path(self._stack.enter_context(TemporaryDirectory(prefix="taktline-bench-")))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                place = f"127.0.0.1:{probe.getsockname()[1]}"
            self.address = f"http://{place}/"
            file = root / "dashboard.toml"
            file.write_text(f'[dashboard]\nbind = "{place}"\n[[line]]\nname = "bench"\ncontrol = "{line.orders}"\n')
            self._words = self._stack.enter_context((root / "stderr").open("w+", encoding="utf-8"))
            self._dashboard = self._start(sys.executable, "-m", "taktline", "dashboard", str(file))
            self._await_page()
            for number in range(pages):
                browser = self._start(
                    _BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                    f"--user-data-dir={root / f'browser-{number}'}", self.address,
                )  # fmt: skip
                # On a line, browsers run on other machines; here they get what the line leaves.
                os.sched_setscheduler(browser.pid, os.SCHED_IDLE, os.sched_param(0))
            self._process = psutil.Process(self._dashboard.pid)
            self._process.cpu_percent()

    def look(self) -> tuple[float, float]:
        """Returns the dashboard's resident memory in MiB, and its share of one core since the last look.

        Raises:
            TaktlineError: it has ended.
        """
        self._check()
        return self._process.memory_info().rss / 2**20, self._process.cpu_percent() / 100

    def close(self) -> None:
        """Ends browsers and dashboard."""
        self._stack.close()

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self._words, stdin=subprocess.DEVNULL)
        self._stack.callback(_stop, process)
        return process

    def _await_page(self) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            self._check()
            try:
                with urllib.request.urlopen(self.address, timeout=_POLL_S):
                    return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(_POLL_S)
        raise TaktlineError(f"the dashboard did not answer within {_START_S:g} s: {self._last_words()}")

    def _check(self) -> None:
        if self._dashboard.poll() is not None:
            raise TaktlineError(
                f"the dashboard ended with exit code {self._dashboard.returncode}: {self._last_words()}"
            )

    def _last_words(self) -> str:
        self._words.flush()
        lines = Path(self._words.name).read_text(encoding="utf-8", errors="replace").split("\n")
        return " ".join(line.strip() for line in lines[-6:] if line.strip()) or "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
