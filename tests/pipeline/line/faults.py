"""What a fault run does to a line: an engine that stumbles, the processes around it, and everything that can happen."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from engines.bundle import Bundle
from engines.closing import Closing
from engines.engine import Engine, Frames, Scores
from engines.errors import EngineError, TaktlineError
from engines.failover import FailoverEngine
from engines.registry import open_engine
from pipeline.client.orders import tell_line
from pipeline.config.line_file import LineConfig
from pipeline.line.build import build_line
from pipeline.line.line import Line
from pipeline.protocol.orders import Order

PEERS = Path(__file__).resolve().parents[2] / "peers"
ROOT = PEERS.parent.parent
FAKE_GIGE = "arv-fake-gv-camera-0.8"


class Stumbling(Engine):
    """A real engine whose next batches fail when it is told so."""

    def __init__(self, inner: Engine, faults: list[int]) -> None:
        super().__init__(inner.size, inner.precision, inner.max_batch, inner.device)
        self.name, self.jobs = inner.name, inner.jobs
        self._inner, self._faults = inner, faults

    def set_threshold(self, threshold: float) -> None:
        self._inner.set_threshold(threshold)

    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]:
        if self._faults:
            self._faults.pop()
            raise EngineError("the card fell off the bus")
        return self._inner.submit(frames, until)

    def _close(self) -> None:
        self._inner.close()


def stumbling_line(config: LineConfig, faults: list[int]) -> Line:
    """A line whose engines stumble."""

    def open_one(bundle: Bundle) -> Engine:
        model = config.model
        return Stumbling(open_engine(bundle, model.engine, model.precision, model.max_batch), faults)

    return build_line(config, opener=lambda bundle: FailoverEngine([partial(open_one, bundle)]), watched=True)


class Peer(Closing):
    """A process that serves a camera, or watches the line."""

    def __init__(self, *command: object, ready: bool = False, out: Path | None = None) -> None:
        self._command, self._ready, self._out = list(map(str, command)), ready, out
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._out is not None:
            with self._out.open("ab") as out:
                self.process = subprocess.Popen(self._command, stdout=out, cwd=ROOT)
            return
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, cwd=ROOT)
        assert self.process.stdout is not None
        if self._ready:
            assert self.process.stdout.readline() == b"ready\n"

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


class Faults:
    """What can happen to the line; each is over, and mended, when it returns."""

    def __init__(self, line: Line, stumbles: list[int], peers: dict[str, Peer], folder: Path, parts: list[Path],
                 rng: random.Random, bundles: list[Path], broken: Path) -> None:  # fmt: skip
        self._line, self._stumbles, self._peers = line, stumbles, peers
        self._folder, self._parts = folder, parts
        self.rng = rng
        self._bundles, self._broken = itertools.cycle(bundles), broken
        self._number = itertools.count()
        self.all: list[Callable[[], None]] = [
            self.camera_dies, self.camera_freezes, self.pictures_corrupt, self.overload, self.engine_fails,
            self.bundle_swapped, self.subscriber_stops,
        ]  # fmt: skip
        if "gige" in peers:
            self.all.append(self.gige_dies)

    def camera_dies(self) -> None:
        self._die("net")

    def gige_dies(self) -> None:
        self._die("gige")

    def camera_freezes(self) -> None:
        self._peers["net"].signal(signal.SIGSTOP)
        self._pause(0.5, 2.5)
        self._peers["net"].signal(signal.SIGCONT)

    def pictures_corrupt(self) -> None:
        """Writes good pictures, some slowly and in halves, and some that stay broken."""
        for _ in range(4):
            whole = self.rng.choice(self._parts).read_bytes()
            half = len(whole) // 2
            path = self._folder / f"{next(self._number):05d}.png"
            kind = self.rng.choice(["whole", "halves", "garbage"])
            with path.open("wb") as file:
                if kind == "garbage":
                    file.write(self.rng.randbytes(2000) + b"IEND\xaeB`\x82")
                    continue
                file.write(whole[:half])
                file.flush()
                if kind == "halves":
                    self._pause(0.2, 0.7)
                file.write(whole[half:])

    def overload(self) -> None:
        flood = self._peers["flood"]
        flood.start()
        self._pause(2, 4)
        flood.close()

    def engine_fails(self) -> None:
        self._stumbles.extend(range(self.rng.randint(1, 5)))
        self._pause(0.2, 1)

    def bundle_swapped(self) -> None:
        assert self._line.control is not None
        address = self._line.control.address
        tell_line(address, Order(do="deploy", bundle=str(next(self._bundles))))
        try:
            tell_line(address, Order(do="deploy", bundle=str(self._broken)))
        except TaktlineError:
            return
        raise AssertionError("a broken bundle was taken")

    def subscriber_stops(self) -> None:
        self._peers["watch"].signal(signal.SIGSTOP)
        self._pause(0.5, 3)
        self._peers["watch"].signal(signal.SIGCONT)

    def _die(self, name: str) -> None:
        self._peers[name].close()
        self._pause(0.2, 1.5)
        self._peers[name].start()

    def _pause(self, least: float, most: float) -> None:
        time.sleep(self.rng.uniform(least, most))
