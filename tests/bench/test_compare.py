"""Two measurements are compared: a real change is found, and noise is not taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.measure.machine import look_at_machine
from bench.report.compare import Change, compare_results, differences, read_share
from bench.report.histogram import LatencyHistogram
from bench.report.results import Results, Run, StoredWindow, read_results, write_results
from bench.report.windows import Window
from engines.errors import ConfigError, DataError
from taktline.cli.bench.tables import results_tables
from tests.conftest import RunTaktline


def results(scale: float, seed: int, windows: int = 10, spread: float = 0.05, name: str = "x, batch 8") -> Results:
    """Windows whose speed wanders from one to the next, by so much on average."""
    rng = np.random.default_rng(seed)
    taken = []
    for _ in range(windows):
        speed = scale * (1 + spread * rng.standard_normal())
        latencies = speed * 1e7 * rng.lognormal(0, 0.2, 200)
        taken.append(Window(1.0, round(100 / speed), LatencyHistogram(latencies.astype(int).tolist())))
    latency = LatencyHistogram.merged(window.latency for window in taken)
    run = Run(
        name=name,
        kind="engine",
        images_per_s=float(np.median([window.rate for window in taken])),
        latency_ms=latency.percentiles(),
        windows=tuple(StoredWindow.of(window) for window in taken),
    )
    return Results(
        kind="engine", created_at="2026-01-01T00:00:00+00:00", command="taktline bench engine", bundle="0" * 12,
        machine=look_at_machine(), category="flange", settings={}, runs=(run,),
    )  # fmt: skip


def by_figure(changes: list[Change]) -> dict[str, Change]:
    return {change.figure: change for change in changes}


def test_a_real_change_is_found_with_its_size() -> None:
    changes = by_figure(compare_results(results(1.0, 1), results(1.3, 2), 0.10))
    assert set(changes) == {"images_per_s", "p50_ms", "p99_ms"}
    for figure, expected in (("images_per_s", 1 / 1.3), ("p50_ms", 1.3), ("p99_ms", 1.3)):
        change = changes[figure]
        assert change.worse
        assert change.ratio == pytest.approx(expected, rel=0.05)
        assert change.interval is not None
        assert change.interval[0] <= expected <= change.interval[1]
    better = compare_results(results(1.3, 2), results(1.0, 1), 0.10)
    assert not any(change.worse for change in better)


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_change(seed: int) -> None:
    """Windows that wander by 20 % make ratios beyond 5 % by chance; their interval says that it is chance."""
    noisy = compare_results(results(1.0, seed, 5, 0.2), results(1.0, seed + 50, 5, 0.2), 0.05)
    assert not any(change.worse for change in noisy)


def test_a_small_but_sure_change_is_allowed() -> None:
    changes = by_figure(compare_results(results(1.0, 1, spread=0.001), results(1.05, 2, spread=0.001), 0.10))
    interval = changes["p50_ms"].interval
    assert interval is not None and interval[0] > 1
    assert not changes["p50_ms"].worse


def test_too_few_windows_give_no_interval() -> None:
    changes = compare_results(results(1.0, 1, 2), results(1.5, 1, 10), 0.10)
    assert all(change.interval is None and change.worse for change in changes)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="no run in common"):
        compare_results(results(1.0, 1), results(1.0, 1, name="y"), 0.1)
    for text in ("much", "-1%", "nan%", "inf"):
        with pytest.raises(ConfigError, match="is not a share"):
            read_share(text)
    assert (read_share("10%"), read_share("0.25")) == (0.1, 0.25)


def test_another_machine_is_told() -> None:
    here = results(1.0, 1)
    other = {"cpu": "Z80", "cores": here.machine.cores + 1}
    there = here.model_copy(update={"machine": here.machine.model_copy(update=other)})
    assert [sentence.split(":")[0] for sentence in differences(here, there)] == [
        "the machines differ in cpu", "the machines differ in cores",
    ]  # fmt: skip
    assert differences(here, here) == []


def test_the_command_line(tmp_path: Path, taktline: RunTaktline, taktline_in_process: RunTaktline) -> None:
    old, new, nonsense = tmp_path / "old.json", tmp_path / "new.json", tmp_path / "nonsense.json"
    write_results(old, results(1.0, 1))
    write_results(new, results(1.3, 2))
    assert read_results(old) == results(1.0, 1).model_copy(update={"machine": read_results(old).machine})
    done = taktline("bench", "compare", old, new, "--fail-above", "10%")
    assert done.returncode == 1
    assert "worse" in done.stdout
    assert taktline_in_process("bench", "compare", new, old).returncode == 0
    assert taktline_in_process("bench", "compare", old, new, "--fail-above", "50%").returncode == 0
    nonsense.write_text('{"schema_version": 2}')
    for bad in (nonsense, tmp_path / "none.json"):
        refused = taktline_in_process("bench", "compare", old, bad)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr
    assert results_tables(read_results(old))
