"""The measurement of journaling and publishing."""

from __future__ import annotations

import json

from tests.conftest import RunTaktline


def test_it_measures_with_and_without_a_journal(taktline: RunTaktline) -> None:
    done = taktline(
        "bench", "delivery", "--runs", 1, "--seconds", 0.5, "--count", 500, "--rate", 100, "--power", "--json"
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [result["journal"] for result in results] == ["none", "process", "power"]
    for result in results:
        assert result["verdicts_per_s"] > 0
        assert 0 < result["p50_ms"] <= result["p99_ms"]


def test_a_folder_that_cannot_be_written_is_told(taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process("bench", "delivery", "--folder", "/nowhere")
    assert done.returncode == 2
    assert "the folder /nowhere cannot be written" in done.stderr.replace("\n", " ")
