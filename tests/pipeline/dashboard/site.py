"""Two running lines with two cameras each, and a dashboard that watches them, all in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.bundle import open_bundle, update_manifest
from engines.closing import Closing
from engines.errors import TaktlineError
from engines.evaluated import DefectsFound, Evaluated
from pipeline.client.feed_sender import FeedSender
from pipeline.client.orders import tell_line
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.dashboard.users import Role, add_user
from pipeline.journal.history import History
from pipeline.journal.selection import Selection
from pipeline.protocol.orders import Order
from tests.paths import ROOT
from tests.pipeline.parts import until

PASSWORDS = {"vera": "vera's password", "otto": "otto's password", "emil": "emil's password"}
ROLES = {"vera": Role.viewer, "otto": Role.operator, "emil": Role.engineer}
CAMERAS = ("top", "side")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RunningLine:
    """A line in a process of its own, which gets its frames from here."""

    name: str
    folder: Path
    bundle: Path
    sigma: float
    verdicts: str = field(default_factory=lambda: f"tcp://127.0.0.1:{free_port()}")
    replay: str = field(default_factory=lambda: f"tcp://127.0.0.1:{free_port()}")

    def __post_init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._senders = {camera: FeedSender(self._feed(camera)) for camera in CAMERAS}
        cameras = "".join(
            f'[[camera]]\nname = "{camera}"\nsource = "feed:{self._feed(camera)}"\n' for camera in CAMERAS
        )
        self._file = self.folder / f"{self.name}.toml"
        self._file.write_text(
            f'[line]\nname = "{self.name}"\ntakt_ms = 2000\n'
            f'[model]\nbundle = "{self.bundle}"\nengine = "onnxruntime"\nprecision = "f32"\nmax_batch = 2\n{cameras}'
            f'[decision]\nsigma = {self.sigma}\nheatmaps = "all"\n'
            f'[publish]\nverdicts = "{self.verdicts}"\nreplay = "{self.replay}"\npreviews = 10\n'
            f'[journal]\npath = "{self.name}.journal"\nkeep_images = "all"\n'
        )

    @property
    def control(self) -> str:
        return f"ipc://{self.folder / 'taktline' / self.name}.control"

    @property
    def journal(self) -> Path:
        return self.folder / f"{self.name}.journal"

    def start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as log:
            command = [sys.executable, "-m", "taktline", "run", str(self._file)]
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment(self.folder), stderr=log)

    def ready(self) -> None:
        until(lambda: self.status() is not None)

    def status(self) -> dict[str, Any] | None:
        assert self.process is not None and self.process.poll() is None, "the line ended"
        try:
            found: dict[str, Any] = tell_line(self.control, Order(do="status"), 5000)["status"]
        except TaktlineError:
            return None
        return found if found["ready"] else None

    def send(self, picture: Path, part: str, camera: str = "top") -> None:
        self._senders[camera].send(picture.read_bytes(), part, timeout=20)

    def publish(self, picture: Path, part: str) -> None:
        """Sends a picture and waits until its verdict is in the journal."""
        self.send(picture, part)
        until(lambda: self._holds(part))

    def _holds(self, part: str) -> bool:
        with History(self.journal) as history:
            return bool(history.page(Selection(part=part)).found)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        for sender in self._senders.values():
            sender.close()
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def _feed(self, camera: str) -> str:
        return f"ipc://{self.folder / f'{self.name}-{camera}'}"


EVALUATED = Evaluated(
    data="flange", evaluated_at="2026-01-01T00:00:00+00:00", engine="openvino f32", threshold=2.0, good=100,
    defective=10, false_alarms=3, misses=1, accuracy=0.96, precision=0.75, recall=0.9, f1=0.82, auroc=0.97,
    auroc_interval=(0.96, 0.98), pixel_auroc=None, defects={"scratch": DefectsFound(found=9, parts=10)},
)  # fmt: skip


class Site(Closing):
    """The lines `blue`, whose parts are all ok, and `red`, whose parts are all ng, and their dashboard."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder = folder
        bundles = folder / "bundles"
        for name in ("first", "next"):
            shutil.copytree(bundle, bundles / name)
        update_manifest(open_bundle(bundles / "first"), {"evaluated": EVALUATED.model_dump()})
        manifest = bundles / "next" / "manifest.json"
        # Another creation date makes another bundle of it.
        values = json.loads(manifest.read_text())
        manifest.write_text(json.dumps(values | {"created_at": "2026-01-01T00:00:00"}))
        self.lines = {
            name: RunningLine(name, folder, bundles / "first", sigma) for name, sigma in (("blue", 900), ("red", -900))
        }
        self.users = folder / "users.passwd"
        for name, password in PASSWORDS.items():
            add_user(self.users, name, ROLES[name], password)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.file = folder / "dashboard.toml"
        lines = "".join(f'[[line]]\nname = "{name}"\nbundles = "bundles"\n' for name in self.lines)
        self.file.write_text(f'[dashboard]\nbind = "127.0.0.1:{self.port}"\nusers = "users.passwd"\n{lines}')
        for line in self.lines.values():
            line.start()
        command = [sys.executable, "-m", "taktline", "dashboard", str(self.file)]
        self.log = folder / "dashboard.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment(folder), stderr=log)

    def ready(self) -> None:
        for line in self.lines.values():
            line.ready()
        until(lambda: "is running" in self.log.read_text())

    def close(self) -> None:
        code = self.end()
        for line in self.lines.values():
            line.close()
        log = self.log.read_text()
        assert code == 0, log
        assert "Traceback" not in log, log

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the dashboard and returns its exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Arrivals(Closing):
    """Notes when a line's verdicts arrive at another subscriber: the time of their publication."""

    def __init__(self, line: RunningLine) -> None:
        self.at: dict[int, float] = {}
        self._subscriber = VerdictSubscriber(line.verdicts, ("top",))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                verdict, _ = self._subscriber.receive(0.1)
            except TimeoutError:
                continue
            self.at[verdict.sequence] = time.time()

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)
        self._subscriber.close()


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"XDG_RUNTIME_DIR": str(folder), "OMP_NUM_THREADS": "1"}
