"""`taktline run` ends within ten seconds of SIGTERM, whatever hangs, and says what did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from engines.errors import TaktlineError
from pipeline.client.orders import tell_line
from pipeline.protocol.orders import Order
from tests.paths import ROOT

# A subscriber that is let in and then never reads again.
FROZEN = """
import os, signal, sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.subscribe("")
socket.connect(sys.argv[1])
socket.recv()
os.kill(os.getpid(), signal.SIGSTOP)
"""


def deploy(bundle: Path, folder: Path) -> None:
    with pytest.raises(TaktlineError):
        tell_line(f"ipc://{folder}/orders", Order(do="deploy", bundle=str(bundle)))


@pytest.mark.parametrize(
    ("part", "left_behind"),
    [
        ("camera", ["capture top"]),
        ("engine", ["inference", "the engine"]),
        ("disk", ["the journal"]),
        # Opening an engine takes seconds, and minutes on some devices; nothing can interrupt it.
        ("deploy", ["the control server"]),
        # Nothing of the line's own hangs: what the subscriber does not take is dropped.
        ("subscriber", None),
        ("nothing", None),
    ],
)
def test_it_ends_whatever_hangs(
    part: str, left_behind: list[str] | None, bundle_path: Path, drawn: Path, endpoint: str, tmp_path: Path
) -> None:
    line_file = tmp_path / "line.toml"
    line_file.write_text(
        f'[model]\nbundle = "{bundle_path}"\n[[camera]]\nname = "top"\nsource = "replay:{drawn}"\n'
        f'[publish]\nverdicts = "{endpoint}"\n[journal]\npath = "line.journal"\n'
        f'[control]\nbind = "ipc://{tmp_path}/orders"\n'
    )
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    hanging = "nothing" if part == "subscriber" else part
    command = [sys.executable, "-m", "tests.peers.hanging_line", hanging, "run", str(line_file), "--json"]
    frozen = subprocess.Popen([sys.executable, "-c", FROZEN, endpoint]) if part == "subscriber" else None
    try:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        ) as process:
            try:
                assert process.stdout is not None
                running = hanging in {"deploy", "nothing"}
                assert process.stdout.readline() == ("running\n" if running else "hanging\n")
                if part == "deploy":
                    threading.Thread(target=deploy, args=(bundle_path, tmp_path), daemon=True).start()
                    assert process.stdout.readline() == "hanging\n"
                if frozen is not None:
                    os.waitpid(frozen.pid, os.WUNTRACED)
                asked = time.monotonic()
                process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=60)
                took = time.monotonic() - asked
            finally:
                process.kill()
    finally:
        if frozen is not None:
            frozen.kill()
            frozen.wait()
    # The promise itself, not a measure of speed.
    assert took < 10, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["frames"] > 0
    if left_behind is None:
        assert process.returncode == 0, err
    else:
        assert process.returncode == 70, err
        named = err.replace("\n", " ").rpartition("left behind: ")[2]
        assert all(name in named for name in left_behind), err
    assert "Traceback" not in err
