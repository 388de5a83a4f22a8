"""A measured line, in its own process, as `taktline run` starts it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from engines.closing import Closing, closed_on_error
from engines.errors import TaktlineError
from engines.extras import require
from pipeline.client.orders import tell_line
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.camera import Overload
from pipeline.config.line_file import check_config
from pipeline.protocol.orders import Order

_START_S = 300.0
_END_S = 40.0
_POLL_S = 0.1
_PROBE_MS = 1000

RUN_LINE = (sys.executable, "-m", "taktline", "run")


class LineProcess(Closing):
    """A line that runs in another process, and a subscription to its verdicts. A context manager.

    Args:
        values: the contents of its line file, except where frames come from and verdicts go.
        cameras: number of cameras; frames for each go to its address in `feeds`.
        command: starts a line; the line file's path is appended.
        overload: what it does with frames that it has no time for; None for what is usual for cameras.

    Attributes:
        feeds: the cameras' addresses.
        orders: where it takes orders.
        verdicts: the subscription.
        status: the line's status when it became ready.

    Raises:
        TaktlineError: it did not start; the text repeats its last message.
    """

    def __init__(
        self, values: dict[str, Any], cameras: int, command: Sequence[str] = RUN_LINE, overload: Overload | None = None
    ) -> None:
        toml = require("tomli_w", "bench")
        self._stack = ExitStack()
        with closed_on_error(self._stack):
            root = Path(self._stack.enter_context(TemporaryDirectory(prefix="taktline-bench-")))
            self.feeds = [f"ipc://{root / f'camera-{number}'}" for number in range(cameras)]
            self.orders, endpoint = f"ipc://{root / 'control'}", f"ipc://{root / 'verdicts'}"
            config = check_config(
                values
                | {
                    "camera": [
                        {"name": f"camera-{number}", "source": f"feed:{feed}", "on_overload": overload}
                        for number, feed in enumerate(self.feeds)
                    ],
                    "publish": values.get("publish", {})
                    | {"verdicts": endpoint, "await_subscribers": 1, "await_s": _START_S},
                    "control": {"bind": self.orders},
                },
                "the command line",
            )
            path = root / "line.toml"
            settings = config.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
            path.write_text(toml.dumps(settings), encoding="utf-8")
            self._words = self._stack.enter_context((root / "stderr").open("w+", encoding="utf-8"))
            self.verdicts = self._stack.enter_context(VerdictSubscriber(endpoint))
            self._process = subprocess.Popen(
                [*command, str(path)], stdout=subprocess.DEVNULL, stderr=self._words, stdin=subprocess.DEVNULL
            )
            self._stack.callback(self._stop)
            self.status = self._await_ready()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def check(self) -> None:
        """Raises `TaktlineError` if the line has ended."""
        if self._process.poll() is not None:
            raise TaktlineError(f"the line ended with exit code {self._process.returncode}: {self._last_words()}")

    def close(self) -> None:
        """Drains and stops the line, and frees everything."""
        self._stack.close()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _await_ready(self) -> dict[str, Any]:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            self.check()
            try:
                status: dict[str, Any] = tell_line(self.orders, Order(do="status"), _PROBE_MS)["status"]
            except TaktlineError:
                time.sleep(_POLL_S)
                continue
            if status["ready"]:
                return status
            time.sleep(_POLL_S)
        raise TaktlineError(f"the line was not ready within {_START_S:g} s: {self._last_words()}")

    def _last_words(self) -> str:
        self._words.flush()
        lines = Path(self._words.name).read_text(encoding="utf-8").split("\n")
        return " ".join(line.strip() for line in lines[-6:] if line.strip()) or "it said nothing"
