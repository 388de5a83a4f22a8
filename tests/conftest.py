"""What tests share: drawn parts, a small bundle of them, real data where it lies beside the checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from calibration.autoencoder import TrainingSettings
from calibration.calibrate import CalibrationSettings, calibrate
from calibration.parts import write_dataset
from engines.bundle import Bundle, open_bundle
from engines.network import NetworkConfig
from taktline.cli.app import main
from tests.paths import ROOT, SHARED, WEIGHTS

# SciPy takes a module that is None in `sys.modules` for one that is there.
_WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in {}: raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Missing())
from taktline.cli.app import main
sys.exit(main(sys.argv[1:]))
"""

# Those that this process was given; a worker keeps to some of them.
CORES = os.sched_getaffinity(0)

Kept = Callable[[str, Callable[[Path], object]], Path]
RunTaktline = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long and how the fault runs go."""
    parser.addoption("--soak-minutes", type=float, default=0.5, help="how long `-m soak` throws faults at a line")
    parser.addoption("--soak-seed", type=int, default=0, help="which faults, and in which order")
    parser.addoption("--kills", type=int, default=20, help="how often a line is killed, by hand")


def pytest_configure() -> None:
    """Gives each worker its share of the cores: an engine's threads that share a core with another worker's wait for
    each other, and some of them spin meanwhile."""
    if (worker := os.environ.get("PYTEST_XDIST_WORKER")) is not None:
        cores, workers = sorted(CORES), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        number = int(worker.removeprefix("gw"))
        os.sched_setaffinity(0, cores[number::workers] or [cores[number % len(cores)]])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deals what takes longest out to all workers, each to begin with, so that none is alone with it in the end.

    Each worker takes one run of the list. The longest goes to whoever has least to do so far. Files follow each other
    as if at random, because those of one folder mostly wait, and those of another mostly compute.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        items.sort(key=lambda item: zlib.crc32(item.path.name.encode()))
    long = [(mark.args[0], item) for item in items if (mark := item.get_closest_marker("long")) is not None]
    short = [item for item in items if item.get_closest_marker("long") is None]
    hands: list[list[pytest.Item]] = [[] for _ in range(workers)]
    loads = [0.0] * workers
    for seconds, item in sorted(long, key=lambda pair: -pair[0]):
        least = loads.index(min(loads))
        hands[least].append(item)
        loads[least] += seconds
    for worker, hand in enumerate(hands):
        hand.extend(short[worker * len(short) // workers : (worker + 1) * len(short) // workers])
    items[:] = [item for hand in hands for item in hand]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps compiled models, plans and choices out of the user's own cache, once for all workers."""
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAKTLINE_CACHE", str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"))
        yield


@pytest.fixture(scope="session")
def kept(pytestconfig: pytest.Config) -> Kept:
    """Makes something that takes long once for all workers and all runs, until the code that makes it changes."""
    assert pytestconfig.cache is not None
    root = pytestconfig.cache.mkdir("made")
    digest = hashlib.sha256()
    for floor in ("engines", "calibration"):
        for file in sorted((ROOT / floor).rglob("*.py")):
            digest.update(file.read_bytes())
    for package in ("torch", "openvino", "onnx", "onnxscript", "nncf"):
        digest.update(version(package).encode())
    digest.update(Path(__file__).read_bytes())

    def keep(name: str, make: Callable[[Path], object]) -> Path:
        folder = root / f"{name}-{digest.hexdigest()[:12]}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                for stale in root.glob(f"{name}-????????????"):
                    shutil.rmtree(stale)
                work = Path(tempfile.mkdtemp(dir=root))
                make(work / name)
                work.rename(folder)
        return folder / name

    return keep


@pytest.fixture(scope="session")
def drawn(kept: Kept) -> Path:
    """A small data set of drawn parts: 30 to learn from, 8 good and 10 defective ones to test."""
    return kept("flange", lambda path: write_dataset(path, seed=1, train=30, good=8, defective=2))


@pytest.fixture(scope="session")
def bundle_path(drawn: Path, kept: Kept) -> Path:
    """A bundle calibrated briefly on the drawn parts, with an 8-bit model."""
    settings = CalibrationSettings("untrained", training=TrainingSettings(steps=120), int8=True)
    return kept("flange_bundle", lambda path: calibrate(drawn, path, settings))


@pytest.fixture(scope="session")
def small_bundle_path(drawn: Path, kept: Kept) -> Path:
    """A bundle for 64 x 64 pixels, for tests that ask what happens to frames and not how well they are judged."""
    network = NetworkConfig(size=(64, 64), hidden=64, code=64)
    settings = CalibrationSettings("untrained", network=network, training=TrainingSettings(steps=40))
    return kept("small_bundle", lambda path: calibrate(drawn, path, settings))


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    """The same bundle, opened."""
    return open_bundle(bundle_path)


@pytest.fixture(scope="session")
def weights() -> Path:
    """Real ImageNet weights."""
    if not WEIGHTS.is_file():
        pytest.skip(f"no ImageNet weights at {WEIGHTS}; put them there to run this test")
    return WEIGHTS


def real_parts(name: str) -> Path:
    """Real pictures, or a skip that says what to put where."""
    path = SHARED / "data" / name
    if not path.is_dir():
        pytest.skip(f"no data set at {path}; put {name} there, in MVTec AD layout, to run this test")
    return path


@pytest.fixture(scope="session")
def screw() -> Path:
    """MVTec AD's screw."""
    return real_parts("screw")


@pytest.fixture(scope="session")
def pill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MVTec AD's pill, with every twentieth part to learn from among those to test: it has few good ones there."""
    source, root = real_parts("pill"), tmp_path_factory.mktemp("data") / "pill"
    for folder in sorted((source / "test").iterdir()):
        (root / "test" / folder.name).mkdir(parents=True)
    (root / "train" / "good").mkdir(parents=True)
    (root / "ground_truth").symlink_to(source / "ground_truth")
    for picture in sorted((source / "test").rglob("*.*")):
        (root / picture.relative_to(source)).symlink_to(picture)
    for index, picture in enumerate(sorted((source / "train" / "good").iterdir())):
        own = root / "train/good" / picture.name if index % 20 else root / "test/good" / f"train-{picture.name}"
        own.symlink_to(picture)
    return root


@pytest.fixture(scope="session")
def pill_bundle(pill: Path, weights: Path, kept: Kept) -> Path:
    """A bundle of the pill, calibrated with the product's defaults but fewer steps."""
    settings = CalibrationSettings(str(weights), training=TrainingSettings(steps=320, context_steps=200), int8=True)
    return kept("pill_bundle", lambda path: calibrate(pill, path, settings))


@pytest.fixture
def all_cores() -> Iterator[None]:
    """Gives a test all cores, for it and for what it starts."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    yield
    os.sched_setaffinity(0, own)


@pytest.fixture
def endpoint() -> str:
    """A ZeroMQ address that is free on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster: a head without a processor and two nodes with one each, as processes on this machine."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="no Ray; pip install 'taktline[ray]'")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Ray's workers make way for all others, and would wait until those have no more to do.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    made = cluster_utils.Cluster()
    try:
        made.add_node(num_cpus=0, include_dashboard=False)
        for _ in range(2):
            made.add_node(num_cpus=1)
        yield made
    finally:
        made.shutdown()


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Fails where a test leaves a thread behind."""
    # OpenVINO keeps a thread of its own from its first import on.
    import_module("openvino")
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(5)
    assert not [thread.name for thread in left if thread.is_alive()]


@pytest.fixture
def taktline() -> RunTaktline:
    """Runs the command line in a process of its own."""

    def run(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "taktline", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)

    return run


@pytest.fixture
def taktline_without() -> RunTaktline:
    """Runs the command line in a process of its own in which some packages, the first argument, fail to load."""

    def run(packages: tuple[str, ...], *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _WITHOUT.format(packages), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    return run


@pytest.fixture
def taktline_in_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunTaktline:
    """Runs the command line in this process, which saves seconds of imports.

    An exception that should have been a sentence fails the test. What needs a process of its own takes `taktline`. Each
    command also runs in a process of its own where the README's commands are tested.
    """

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(ROOT)
        words = list(map(str, arguments))
        capsys.readouterr()
        code = main(words)
        return subprocess.CompletedProcess(["taktline", *words], code, *capsys.readouterr())

    return run
