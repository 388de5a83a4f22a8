"""An engine in a process of its own that gives way to all else: what happens to it happens to nobody else."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engines.apart_messages import receive, send
from engines.bundle import Bundle
from engines.candidates import AUTO
from engines.closing import closed_on_error
from engines.engine import Engine, Frames, Scores, Timing
from engines.errors import EngineError
from engines.foreign import translated
from engines.hint import Hint
from engines.worker import Worker

_TICK_S, _END_S = 0.2, 5.0
_ROOT = Path(__file__).resolve().parent.parent
_PROGRAM = """
import sys
if sys.argv[2] not in sys.path:
    sys.path.insert(0, sys.argv[2])
from engines.apart_process import main
main(int(sys.argv[1]))
"""


@dataclass(frozen=True)
class Way:
    """A way to open an engine; see `engines.registry.open_engine`. Nothing is measured: that would not be true here."""

    engine: str = AUTO
    precision: str = AUTO
    max_batch: int = 1
    device: str | None = None
    hint: Hint = "latency"
    threshold: float | None = None


class EngineApart(Engine):
    """Scores frames in a process of its own, which computes where nothing else on the machine wants to.

    If its library crashes, hangs or takes all memory, that process is ended, and nothing else notices. Its scores carry
    how long computing took, with all pauses that it was put into.

    Args:
        bundle: the opened bundle.
        ways: how to open its engine: the first that works.
        stop: set by another thread to end the process at once, also while the engine is being opened.
        to_all: whether it gives way to the programs of all sessions rather than at once to this one. Linux may share
            time between sessions first, and then within each. Within one, what has the lowest priority is put aside the
            moment that anything else wakes up; between two, that may take milliseconds.
        open_s: how long opening may take, in seconds.
        answer_s: how long a batch may take.

    Attributes:
        yields: whether it takes time only where nothing else wants it. That is so for a CPU; other devices know no such
            priority.

    Raises:
        EngineError: it cannot be opened; the text says why.
    """

    jobs = 1

    def __init__(
        self,
        bundle: Bundle,
        ways: Sequence[Way],
        stop: threading.Event | None = None,
        to_all: bool = False,
        open_s: float = 600.0,
        answer_s: float = 60.0,
    ) -> None:
        self._stop, self._answer_s = stop or threading.Event(), answer_s
        self._until = time.monotonic() + open_s
        self._doing = f"did not open within {open_s:g} s"
        self._connection, other = socket.socketpair()
        with other, closed_on_error(self._connection), translated("no process can be started for the engine"):
            self._process = subprocess.Popen(
                # Not `-m`, which would look for it in the current folder.
                [sys.executable, "-P", "-c", _PROGRAM, str(other.fileno()), str(_ROOT)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(other.fileno(),),
                # Either keeps Ctrl-C away, which is for those who wait for it.
                process_group=None if to_all else 0, start_new_session=to_all,
            )  # fmt: skip
        self._connection.settimeout(_TICK_S)
        try:
            hello = self._ask({"bundle": str(bundle.path.resolve()), "ways": [asdict(way) for way in ways]})
        except BaseException:
            self._end()
            raise
        super().__init__(bundle.size, hello["precision"], hello["max_batch"], hello["device"])
        self.name, self.device_name = hello["name"], hello["device_name"]
        self.yields = bool(hello["yields"]) and self.device == "cpu"
        self._worker = Worker("engine apart")

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        del until
        return self._worker.submit(partial(self._score, frames))

    def _score(self, frames: Frames) -> Scores:
        self._until = time.monotonic() + self._answer_s
        self._doing = f"did not answer within {self._answer_s:g} s"
        found = self._ask({"frames": frames.tobytes(), "shape": list(frames.shape)})
        # Copies, because what a message holds cannot be written to.
        score = np.frombuffer(found["score"], np.float32).copy()
        heatmap = np.frombuffer(found["heatmap"], np.float32).reshape(found["shape"]).copy()
        exact, rescored = (np.frombuffer(found[name], np.bool_).copy() for name in ("exact", "rescored"))
        timing = Timing(0, int(found["nanoseconds"]), 0)
        return Scores(score, heatmap, exact, rescored, found["threshold"], timing, self.name, self.precision)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            send(self._connection, message, self._check)
            answer = receive(self._connection, self._check)
        except (EOFError, OSError) as error:
            self._check()
            raise EngineError(f"the engine's own process ended ({self._how_it_ended()})") from error
        if "error" in answer:
            raise EngineError(str(answer["error"]))
        return answer

    def _check(self) -> None:
        if self._stop.is_set():
            raise EngineError("the engine's own process was told to stop")
        if time.monotonic() > self._until:
            raise EngineError(
                f"the engine {self._doing}; it hangs, or everything else on the machine leaves it no time"
            )

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            return "it closed its connection"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _close(self) -> None:
        self._stop.set()
        self._kill()
        self._worker.close()
        self._end()

    def _kill(self) -> None:
        # It has nothing to finish. The connection is closed once nobody waits at it any more.
        self._process.kill()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def _end(self) -> None:
        self._kill()
        self._connection.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            # On a busy machine it gives way even while it dies; somebody has to take note when it has.
            threading.Thread(target=self._process.wait, name="end of an engine apart", daemon=True).start()
