"""A line is killed again and again, and so is its subscriber: in the end it has every verdict, each once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from taktline.cli.journal import build_journal
from tests.paths import ROOT
from tests.pipeline.parts import held, until, verify

FRAMES_A_LIFE = 100
PARTS_OF_A_RUN = 162


@pytest.fixture
def parts(drawn: Path, tmp_path: Path) -> Path:
    """The drawn parts to test, many times over."""
    root = tmp_path / "parts"
    for path in sorted((drawn / "test").rglob("*.png")):
        folder = root / "test" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        for copy in range(PARTS_OF_A_RUN // 18):
            os.link(path, folder / f"{copy}-{path.name}")
    (root / "train").symlink_to(drawn / "train")
    return root


class LineProcess:
    """`taktline run` in a process of its own."""

    def __init__(self, line_file: Path) -> None:
        command = [sys.executable, "-m", "taktline", "run", str(line_file)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.runs = threading.Event()
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line)
            if "runs:" in line:
                self.runs.set()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        assert "Traceback" not in "".join(self.errors)
        return code


class Collector:
    """The subscriber's process."""

    def __init__(self, verdicts: str, replay: str, store: Path) -> None:
        self._command = [sys.executable, "-m", "tests.peers.collector", verdicts, replay, str(store)]
        self.start(0.0)

    def start(self, pause_s: float) -> None:
        self.process = subprocess.Popen([*self._command, str(pause_s)], cwd=ROOT)

    def kill(self) -> None:
        assert self.process.poll() is None
        self.process.kill()
        self.process.wait()


def stored(path: Path) -> list[tuple[str, str, int]]:
    # The collector commits without a pause, and a reader may find it at that for seconds.
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        return connection.execute("SELECT epoch, camera, sequence FROM verdicts").fetchall()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    collector = Collector(f"ipc://{tmp_path / 'v'}", f"ipc://{tmp_path / 'r'}", tmp_path / "store")
    yield collector
    collector.kill()


def write_line(tmp_path: Path, bundle: Path, source: str, follow: bool = False) -> Path:
    path = tmp_path / ("idle.toml" if follow else "line.toml")
    # The engine that is the quickest to start.
    model = f'bundle = "{bundle}"\nengine = "onnxruntime"\nprecision = "f32"\nmax_batch = 2\n'
    path.write_text(
        f'[line]\nname = "{tmp_path.name}"\n[model]\n{model}[control]\nbind = "ipc://{tmp_path / "c"}"\n'
        f'[[camera]]\nname = "top"\nsource = "{source}"\nfollow = {str(follow).lower()}\nfps = 100\n'
        f'[decision]\nheatmaps = "all"\n[journal]\npath = "line.journal"\n'
        f'[publish]\nverdicts = "ipc://{tmp_path / "v"}"\nreplay = "ipc://{tmp_path / "r"}"\nqueue = 10\n'
    )
    return path


@pytest.mark.long(54)
def test_nothing_is_lost_when_the_line_and_its_subscriber_are_killed(
    small_bundle_path: Path, parts: Path, tmp_path: Path, collector: Collector, request: pytest.FixtureRequest
) -> None:
    """By hand, with `--kills 200 -s` and no time limit."""
    kills = request.config.getoption("--kills")
    rng = random.Random(kills)
    journal, store = tmp_path / "line.journal", tmp_path / "store"
    line_file = write_line(tmp_path, small_bundle_path, f"replay:{parts}")
    (tmp_path / "none").mkdir()
    idle = write_line(tmp_path, small_bundle_path, "folder:none", follow=True)
    subscriber_dies = set(rng.sample(range(kills), kills // 4))
    sleeps = set(rng.sample(range(kills), kills // 5))
    for life in range(kills):
        line = LineProcess(line_file)
        if life in sleeps:
            collector.process.send_signal(signal.SIGSTOP)
        if life % 5 == 4:
            # Also while it starts.
            time.sleep(rng.uniform(0.0, 2.0))
        else:
            assert line.runs.wait(60), "".join(line.errors)
            time.sleep(rng.uniform(0.0, 1.0))
        assert line.end(signal.SIGKILL) in (-signal.SIGKILL, 0)
        if life in sleeps:
            collector.process.send_signal(signal.SIGCONT)
        if life in subscriber_dies:
            collector.kill()
            collector.start(rng.choice((0.0, 0.3)))
        if journal.exists():
            done = CliRunner().invoke(build_journal(), ["verify", str(journal), "--json"])
            assert done.exit_code == 0, done.output
    while (found := verify(journal)).verdicts < FRAMES_A_LIFE * kills:
        line = LineProcess(line_file)
        assert line.process.wait(120) == 0
        line.end(signal.SIGKILL)
    # One that has no frames, but answers for what was missed.
    line = LineProcess(idle)
    assert line.runs.wait(60), "".join(line.errors)
    until(lambda: len(stored(store)) >= found.verdicts, 120)
    assert line.end(signal.SIGTERM) == 0
    published = [found.verdict for found in held(journal)]
    assert [verdict.sequence for verdict in published] == list(range(len(published)))
    assert {verdict.verdict for verdict in published} == {"ok", "ng"}
    assert stored(store) == [(verdict.epoch, "top", verdict.sequence) for verdict in published]
    found = verify(journal)
    epochs = Counter(verdict.epoch for verdict in published)
    print(f"{len(published)} verdicts in {found.epochs} epochs, {found.waited} of them journaled late: {dict(epochs)}")
    assert len(epochs) == 1
    assert found.good and found.pictures > 0 and found.waited == 0
