"""Imports run downward only, between floors and between the rooms of the pipeline; no file is long."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.paths import ROOT

# Highest first: a floor may import those after it.
FLOORS = ["taktline", "bench", "pipeline", "calibration", "engines"]

# What each room of the pipeline may import besides itself.
_BASE = {"security", "protocol"}
_PARTS = _BASE | {"config", "flow"}
_LINE = _PARTS | {"line", "publish", "journal", "sources"}
_CLIENT = _BASE | {"client"}
ROOMS = {
    "protocol": set[str](),
    "security": {"protocol"},
    "config": _BASE,
    "flow": _BASE,
    "sources": _PARTS,
    "journal": _PARTS,
    "publish": _PARTS | {"journal"},
    "line": _LINE,
    "client": _BASE,
    "store": {"protocol"},
    "bridges": _CLIENT | {"store"},
    "dashboard": _LINE | _CLIENT | {"store"},
    "fleet": _LINE | _CLIENT,
    "archive": _PARTS | {"line", "journal"},
}

# The pipeline replays data sets and adapts bundles; nothing else of the calibration floor runs on a line PC.
FROM_CALIBRATION = {"calibration.dataset", "calibration.adapt"}

# These rooms run where only four packages are installed (a bridge and a store add their own), and use of the engines'
# floor what needs no library.
LIGHT_ROOMS = {"protocol", "security", "client", "store", "bridges"}
LIGHT_ENGINES = {"engines.closing", "engines.errors", "engines.extras", "engines.files", "engines.validation"}
LIGHT_PACKAGES = {"numpy", "msgpack", "zmq", "pydantic"}
OWN_PACKAGES = {"bridges": {"paho", "httpx"}, "store": {"psycopg", "sqlite3"}}
HEAVY_MODULES = {"sqlite3"}


def imported(source: str) -> Iterator[str]:
    """Yields the modules that a file imports anywhere in it, also within functions and for type checkers."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this tree"
            assert node.module is not None
            yield node.module
            # `from package import module` imports a module as well.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def complaint(importer: str, target: str) -> str | None:
    """Says why one module must not import another; None where it may."""
    floor, room = [*importer.split("."), ""][:2]
    target_floor, target_room = [*target.split("."), ""][:2]
    light = floor == "pipeline" and room in LIGHT_ROOMS
    if target_floor not in FLOORS:
        packages = LIGHT_PACKAGES | OWN_PACKAGES.get(room, set())
        known = target_floor in sys.stdlib_module_names and target_floor not in HEAVY_MODULES
        return (
            f"pipeline/{room} is light: no {target_floor}" if light and not known | (target_floor in packages) else None
        )
    if FLOORS.index(target_floor) < FLOORS.index(floor):
        return f"{target_floor} is above {floor}"
    if floor != "pipeline" or not target_room:
        return None
    if target_floor == "pipeline" and target_room != room and room:
        return None if target_room in ROOMS[room] else f"pipeline/{room} does not stand on pipeline/{target_room}"
    base = ".".join(target.split(".")[:2])
    if target_floor == "calibration" and base not in FROM_CALIBRATION:
        return f"the pipeline uses no {base}"
    if target_floor == "engines" and light and base not in LIGHT_ENGINES:
        return f"pipeline/{room} is light: no {base}"
    return None


def modules() -> dict[str, Path]:
    """The product's modules by name."""
    paths = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return dict(zip(names, paths, strict=True))


def test_every_room_has_its_place() -> None:
    rooms = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert rooms <= ROOMS.keys()


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_run_downward(floor: str) -> None:
    found = [
        f"{name}: {why}"
        for name, path in modules().items()
        if name.split(".")[0] == floor
        for target in imported(path.read_text(encoding="utf-8"))
        if (why := complaint(name, target)) is not None
    ]
    assert not found


def test_no_modules_import_each_other() -> None:
    known = modules()
    graph = {
        name: {target for target in imported(path.read_text(encoding="utf-8")) if target in known and target != name}
        for name, path in known.items()
    }
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("engines.bundle", "from calibration.dataset import Dataset"),
        ("engines.bundle", "import pipeline"),
        ("calibration.adapt", "def f():\n    from pipeline.line.line import Line"),
        ("pipeline.line.line", "from bench.report import html"),
        ("pipeline.line.line", "from calibration.calibrate import calibrate"),
        ("bench.measure.line", "if TYPE_CHECKING:\n    from taktline.cli import app"),
        ("pipeline.protocol.verdict", "from pipeline.security.gate import Gate"),
        ("pipeline.security.keys", "from pipeline.client.subscriber import VerdictSubscriber"),
        ("pipeline.sources.folder", "from pipeline.line.batcher import Batcher"),
        ("pipeline.journal.store", "from pipeline.publish.publisher import Publisher"),
        ("pipeline.client.subscriber", "from pipeline.flow.stage import Stage"),
        ("pipeline.client.subscriber", "from engines.image import decode"),
        ("pipeline.client.subscriber", "from engines import bundle"),
        ("pipeline.client.subscriber", "import cv2"),
        ("pipeline.client.subscriber", "def f():\n    import sqlite3"),
        ("pipeline.bridges.mqtt", "from rich import print"),
        ("pipeline.protocol.verdict", "import paho.mqtt.client"),
    ],
)
def test_an_upward_import_is_found(importer: str, source: str) -> None:
    assert any(complaint(importer, target) for target in imported(source))


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    floors = [path for floor in (*FLOORS, "tests") for path in (ROOT / floor).rglob("*.py")]
    assert floors
    assert [path.name for path in floors if len(path.read_text(encoding="utf-8").splitlines()) > 300] == []
