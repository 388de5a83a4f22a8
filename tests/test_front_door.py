"""What Python users import: every public name, lazily, and a client that needs four packages."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from importlib import import_module, metadata
from pathlib import Path

import pytest

import taktline
from pipeline.protocol.verdict import pack
from pipeline.publish.publisher import PublisherSocket
from tests.paths import ROOT
from tests.pipeline.parts import decide

CLIENT_PACKAGES = ["pyzmq", "msgpack", "numpy", "pydantic"]
CLIENT_NAMES = ["VerdictSubscriber", "AsyncVerdictSubscriber", "ClientKeys", "FeedSender", "Verdict", "WireError"]
HEAVY = ["cv2", "sqlite3", "openvino", "torch", "typer", "rich"]

# A ratio within one run, and of the processor's time: another program that takes it does not matter.
MOST_IMPORT_COST = 2.5


def test_every_name_is_there_for_users_and_for_type_checkers() -> None:
    tree = ast.parse(Path(taktline.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    declared = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert sorted(declared) == sorted(taktline.__all__) == dir(taktline)
    for name, module in declared.items():
        assert module is not None
        assert getattr(taktline, name) is getattr(import_module(module), name)
    with pytest.raises(AttributeError, match="no attribute 'Verdicts'"):
        getattr(taktline, "Verdicts")  # noqa: B009


def fresh(program: str) -> str:
    """Runs a program in a fresh interpreter and returns what it printed."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_client_loads_no_heavy_package() -> None:
    program = "import sys, taktline\n"
    assert fresh(f"{program}print('engines' in sys.modules, 'pipeline' in sys.modules)").split() == ["False", "False"]
    program += "".join(f"taktline.{name}\n" for name in CLIENT_NAMES)
    loaded = fresh(f"{program}print(*sys.modules)").split()
    assert {"zmq", "msgpack", "numpy", "pydantic"} <= set(loaded)
    assert not set(HEAVY) & set(loaded)


def test_a_client_costs_little_more_than_its_packages() -> None:
    timed = "import time\n{}\nprint(time.process_time())"
    packages = "import numpy, msgpack, zmq\nfrom pydantic import BaseModel, TypeAdapter"
    costs = {
        program: min(float(fresh(timed.format(program))) for _ in range(3))
        for program in (packages, "import taktline\ntaktline.VerdictSubscriber")
    }
    bare, client = costs.values()
    assert client < MOST_IMPORT_COST * bare


def needed(package: str) -> set[str]:
    """A package and all that it needs itself, without extras."""
    found = {package}
    for requirement in metadata.requires(package) or []:
        name, _, condition = requirement.partition(";")
        if not condition:
            found |= needed("".join(sign if sign.isalnum() or sign in "-_" else " " for sign in name).split()[0])
    return found


@pytest.fixture
def bare_packages(tmp_path: Path) -> Path:
    """A folder to import from that holds the product and the four packages of a client, and nothing else."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for package in {name for wanted in CLIENT_PACKAGES for name in needed(wanted)}:
        for file in metadata.files(package) or []:
            top = file.parts[0]
            link = folder / top
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / top)
    for floor in ("taktline", "bench", "pipeline", "calibration", "engines"):
        (folder / floor).symlink_to(ROOT / floor)
    return folder


SUBSCRIBER = """
import sys
sys.path.insert(0, sys.argv[1])
try:
    import cv2
except ModuleNotFoundError:
    pass
else:
    sys.exit("OpenCV is installed here")
from taktline import VerdictSubscriber
with VerdictSubscriber(sys.argv[2]) as subscriber:
    for _ in range(2):
        verdict, heatmap = subscriber.receive(60)
        print(verdict.camera, verdict.sequence, verdict.verdict, heatmap and heatmap.grid.shape)
"""


def test_a_subscriber_runs_where_only_its_packages_are_installed(bare_packages: Path) -> None:
    with PublisherSocket("tcp://127.0.0.1:*") as socket:
        command = [sys.executable, "-I", "-S", "-c", SUBSCRIBER, str(bare_packages), socket.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as client:
            socket.await_subscribers(1, 60, threading.Event())
            for decided in (decide("top", 0), decide("top", 1, "ng")):
                socket.send(pack(decided.verdict, decided.heatmap))
            out, errors = client.communicate(timeout=60)
    assert client.returncode == 0, errors
    assert out.splitlines() == ["top 0 ok None", "top 1 ng (28, 28)"]
