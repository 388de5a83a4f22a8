"""`taktline demo --watch`: parts pass a line again and again, and the dashboard shows it until Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from engines.errors import DataError
from pipeline.journal.history import History
from pipeline.journal.selection import Selection
from tests.conftest import RunTaktline
from tests.paths import ROOT
from tests.pipeline.parts import until


@pytest.fixture
def made(drawn: Path, small_bundle_path: Path) -> Iterator[Path]:
    """What an earlier demonstration left. Its path is short, because that of a socket file has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="tkd"))
    shutil.copytree(drawn, folder / "data")
    shutil.copytree(small_bundle_path, folder / "bundle")
    (folder / "demo.json").write_text("{}")
    yield folder
    shutil.rmtree(folder)


def parts(folder: Path) -> int:
    try:
        with History(folder / "watch.journal") as history:
            return history.count(Selection()).number
    except DataError:
        # The line has not begun it yet.
        return 0


def test_it_runs_until_it_is_interrupted(made: Path) -> None:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(made), "OMP_NUM_THREADS": "1", "DISPLAY": ""}
    command = [sys.executable, "-m", "taktline", "demo", "--watch", "--out", str(made), "--fps", "20", "--bind",
               "127.0.0.1:0"]  # fmt: skip
    printed = made / "printed"
    with printed.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        # More than the data set has: they pass again.
        until(lambda: process.poll() is not None or parts(made) > 40)
        address = re.search(r"its dashboard is at (http://\S+)", printed.read_text())
        assert address is not None, printed.read_text()
        with urlopen(address[1], timeout=10) as answer:
            assert b"Taktline" in answer.read()
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
    assert code == 0, printed.read_text()
    assert "Traceback" not in printed.read_text()
    assert json.loads((made / "demo.json").read_text()) == {}


def test_bind_is_for_watching_only(taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process("demo", "--bind", "127.0.0.1:0")
    assert done.returncode == 2
    assert "--bind is for --watch" in done.stderr
