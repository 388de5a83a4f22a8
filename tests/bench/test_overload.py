"""`bench line --overload`: what a line inspects when more comes than it can."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measure.overload import draw_overload
from bench.report.results import read_results
from tests.conftest import RunTaktline


def test_a_line_is_measured_at_its_limit_and_beyond(
    small_bundle_path: Path, drawn: Path, tmp_path: Path, taktline: RunTaktline
) -> None:
    file = tmp_path / "overload.json"
    done = taktline(
        "bench", "line", "--bundle", small_bundle_path, "--data", drawn, "--overload", "2", "--takt", 1500, "--seconds",
        0.6, "--warm-up", 0.2, "--max-batch", 2, "--precision", "f32", "--json", file,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "offered/s" in done.stdout
    found = read_results(file)
    assert [run.name for run in found.runs] == ["line at its limit", "line at 2 times its limit"]
    figures = found.figures
    assert figures["overload_2_offered_per_s"] == pytest.approx(2 * figures["limit_per_s"])
    assert figures["overload_1_inspected_per_s"] > 0
    assert 0 <= figures["overload_2_late_share"] <= 1
    assert figures["overload_2_slowest_ms"] >= found.runs[1].latency_ms["p50"]


def test_the_drawing_puts_the_inspected_rate_beside_the_offered_one() -> None:
    figures = {"limit_per_s": 10.0}
    for multiple, inspected, late in ((1, 10.0, 0.0), (3, 5.0, 0.125)):
        figures |= {
            f"overload_{multiple}_offered_per_s": 10.0 * multiple,
            f"overload_{multiple}_inspected_per_s": inspected,
            f"overload_{multiple}_late_share": late,
            f"overload_{multiple}_slowest_ms": 20.0 * multiple,
        }
    _, first, last = draw_overload(figures)
    assert first.split() == ["10.0", "10.0", "0.000%", "20.0", "ms", "#" * 22]
    assert last.split() == ["30.0", "5.0", "12.500%", "60.0", "ms", "#" * 11]
