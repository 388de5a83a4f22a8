"""Pictures inspected on a real Ray cluster of several nodes, one of which is killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunTaktline
from tests.paths import ROOT
from tests.pipeline.archive.test_inspect import PLAIN, many, parts_of, rows_of

pytest.importorskip("ray", reason="Ray is not installed; pip install 'taktline[ray]'")


def begin(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "taktline", "inspect", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.long(40)
def test_a_node_is_lost(
    ray_cluster: Any, small_bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    """The rows are those of a run without Ray, none missing and none twice."""
    archive, out, alone = many(tmp_path / "many.zip", 2500), tmp_path / "found.parquet", tmp_path / "alone.parquet"
    command = (archive, "--bundle", small_bundle_path, "--out", out, *PLAIN, "--ray", ray_cluster.address, "--json")
    process = begin(*command)
    until = time.monotonic() + 120
    while not parts_of(out) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    assert parts_of(out), process.communicate()
    ray_cluster.remove_node(ray_cluster.list_all_nodes()[1], allow_graceful=False)
    said, complaint = process.communicate(timeout=200)
    assert process.returncode == 0, complaint
    assert json.loads(said.splitlines()[-1])["pictures"] == 2500, said
    done = taktline_in_process("inspect", archive, "--bundle", small_bundle_path, "--out", alone, *PLAIN)
    assert done.returncode == 0, done.stderr
    found, expected = ({row["part"]: row for row in rows_of(path)} for path in (out, alone))
    assert len(rows_of(out)) == len(found) == 2500
    for part, row in expected.items():
        assert found[part]["score"] == pytest.approx(row["score"], abs=1e-3)
        assert found[part] | {"score": 0} == row | {"score": 0}


@pytest.mark.long(33)
def test_a_lost_head(ray_cluster: Any, small_bundle_path: Path, tmp_path: Path) -> None:
    archive, out = many(tmp_path / "many.zip", 20_000), tmp_path / "found.parquet"
    process = begin(archive, "--bundle", small_bundle_path, "--out", out, *PLAIN, "--ray", ray_cluster.address)
    until = time.monotonic() + 120
    while not parts_of(out) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    ray_cluster.head_node.kill_gcs_server()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "is lost" in said
    assert "are kept, and the same command goes on" in said
    assert "Traceback" not in said
    assert parts_of(out)


@pytest.mark.parametrize(
    ("address", "says"),
    [("127.0.0.1:1", "there is no Ray cluster at 127.0.0.1:1; start one"), ("here", "'here' is no address of a Ray")],
)
def test_no_cluster(
    address: str, says: str, small_bundle_path: Path, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    words = ("inspect", drawn, "--bundle", small_bundle_path, "--out", tmp_path / "found.csv", "--ray", address)
    done = taktline_in_process(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert not list(tmp_path.iterdir())
