"""A process ends, and obeys signals, although an engine hangs or was closed on another thread."""

from __future__ import annotations

import os
import subprocess
import sys

from engines.bundle import Bundle
from tests.paths import ROOT

_HANGS_AT_THE_END = """
import sys, time
from pathlib import Path
import numpy as np
from engines.bundle import open_bundle
from engines.failover import FailoverEngine
from engines.openvino import OpenVinoEngine
from engines.registry import open_engine

engine = FailoverEngine([lambda: open_engine(open_bundle(Path(sys.argv[1])), "openvino", "f32", 1)])
OpenVinoEngine._submit = OpenVinoEngine._close = lambda *_: time.sleep(600)
engine.submit(np.zeros((1, 64, 64, 3), np.uint8))
engine.close(0.2)
print("closed", flush=True)
"""

_DEPLOYS = """
import signal, sys, threading
from pathlib import Path
import numpy as np
from engines.bundle import open_bundle
from engines.registry import open_engine

got = []
signal.signal(signal.SIGTERM, lambda *_: got.append(1))
bundle = open_bundle(Path(sys.argv[1]))
running = [open_engine(bundle, "openvino", "f32", 1)]

def deploy():
    for number in range(3):
        running.append(open_engine(bundle, "openvino", "f32", 1))
        running.pop(0).close()

deploying = threading.Thread(target=deploy)
deploying.start()
deploying.join()
signal.raise_signal(signal.SIGTERM)
running[0].infer(np.zeros((1, 64, 64, 3), np.uint8))
running[0].close()
signal.raise_signal(signal.SIGTERM)
print(len(got), flush=True)
"""


def script(text: str, bundle: Bundle) -> subprocess.CompletedProcess[str]:
    # Without pytest's faulthandler, which brings an alternate signal stack of its own.
    return subprocess.run([sys.executable, "-c", text, str(bundle.path)], capture_output=True, text=True, timeout=60,
                          check=False, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip


def test_a_process_with_a_hung_engine_ends(faulty: Bundle) -> None:
    done = script(_HANGS_AT_THE_END, faulty)
    assert (done.returncode, done.stdout) == (0, "closed\n"), done.stderr


def test_a_signal_after_engines_were_closed_on_another_thread_is_handled(faulty: Bundle) -> None:
    done = script(_DEPLOYS, faulty)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
