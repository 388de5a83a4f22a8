"""A program that uses a line as a library ends, although something in the line hangs: no thread is joined at exit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

_PROGRAM = """
import itertools, sys, threading, time
from concurrent.futures import Future
from pathlib import Path
import numpy as np
from engines.engine import Engine
from pipeline.client.orders import tell_line
from pipeline.config.line_file import check_config
from pipeline.flow.frame import Frame
from pipeline.line import batcher
from pipeline.line.build import build_line
from pipeline.protocol.orders import Order
from pipeline.sources.source import Source

part, bundle, folder = sys.argv[1:]
hanging = threading.Event()

def hang(*arguments, **options):
    hanging.set()
    time.sleep(3600)

class Camera(Source):
    def frames(self, stop):
        for number in range(2):
            yield Frame("top", number, np.zeros((64, 64, 3), np.uint8), time.time_ns(), time.monotonic_ns())
        stop.wait()

class Idle(Engine):
    name = "idle"

    def _submit(self, frames, until):
        future = Future()
        future.set_result(self._scores(np.zeros(len(frames), np.float32), np.zeros((len(frames), 8, 8), np.float32)))
        return future

    def _close(self):
        pass

opened = itertools.count()

def opener(bundle):
    if next(opened):
        hang()
    return Idle(bundle.size, "f32", 2, "cpu")

if part == "decoder":
    batcher.resize_frame = hang
values = {
    "model": {"bundle": bundle, "max_batch": 2},
    "camera": [{"name": "top", "source": "folder:played"}],
    "publish": {"verdicts": f"ipc://{folder}/verdicts"},
    "control": {"bind": f"ipc://{folder}/orders"},
}
line = build_line(check_config(values, "test"), sources=[Camera("top")], opener=opener)
line.start()
if part == "order":
    order = Order(do="deploy", bundle=bundle)
    threading.Thread(target=tell_line, args=(f"ipc://{folder}/orders", order), daemon=True).start()
assert hanging.wait(30)
line.close(1.0)
print(",".join(line.hung), flush=True)
"""


_NEVER_CLOSED = """
import sys
from pathlib import Path
from pipeline.publish.publisher import PublisherSocket
from pipeline.security.curve import Access
from pipeline.security.keys import allow, new_pair

folder = Path(sys.argv[1])
allow("client", new_pair("line", folder).public, folder / "allowed")
socket = PublisherSocket("tcp://127.0.0.1:*", access=Access(folder / "line.key_secret", folder / "allowed"))
print("bound", flush=True)
"""


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=90, check=False,
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize(("part", "hung"), [("decoder", "batcher"), ("order", "the control server")])
def test_a_hanging_call_does_not_keep_the_process_alive(
    part: str, hung: str, small_bundle_path: Path, tmp_path: Path
) -> None:
    done = run(_PROGRAM, part, small_bundle_path, tmp_path)
    assert done.returncode == 0, done.stderr
    assert hung in done.stdout


def test_a_socket_with_keys_that_is_never_closed_does_not_either(tmp_path: Path) -> None:
    done = run(_NEVER_CLOSED, tmp_path)
    assert (done.returncode, done.stdout) == (0, "bound\n"), done.stderr
