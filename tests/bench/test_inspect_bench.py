"""The measurement of inspecting stored pictures."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import RunTaktline


def test_it_measures_each_kind_beside_the_bare_engine(bundle_path: Path, taktline_in_process: RunTaktline) -> None:
    words = ("--bundle", bundle_path, "--engine", "openvino", "--precision", "f32", "--count", 20, "--rounds", 2)
    done = taktline_in_process("bench", "inspect", *words, "--json")
    assert done.returncode == 0, done.stderr
    rates = json.loads(done.stdout)["rates"]
    assert [one["name"] for one in rates] == ["bare engine", "decoded", "jpeg", "png"]
    assert rates[0]["ratio"] == 1
    assert all(one["images_per_s"] > 0 and one["ratio"] > 0 for one in rates)
