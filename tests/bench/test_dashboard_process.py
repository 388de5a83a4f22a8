"""A dashboard beside a measured line: what it costs, whether it grows, and what the line feels of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import zmq

from bench.measure.dashboard_process import DashboardProcess
from bench.measure.line_suite import LineSettings, loaded_line
from bench.measure.priority import before_others
from bench.measure.soak import judge_dashboard
from bench.report.results import Sample
from engines.bundle import open_bundle


def made_sample(minute: int, p99: float, dashboard_mb: float | None) -> Sample:
    return Sample(
        minute=float(minute), memory_mb=500.0, handles=40, threads=20, latency_ms={"p50": 10.0, "p99": p99},
        uninspected=0, dashboard_mb=dashboard_mb, dashboard_cpu=None if dashboard_mb is None else 0.25,
    )  # fmt: skip


def test_the_line_with_a_dashboard_is_held_against_the_line_without() -> None:
    alone = [made_sample(minute, 20.0, None) for minute in (*range(15), *range(45, 60))]
    watched = [made_sample(minute, 22.0, 100.0 + minute) for minute in range(15, 45)]
    figures = judge_dashboard([*alone[:15], *watched, *alone[15:]])
    assert figures["dashboard_cpu"] == 0.25
    assert figures["dashboard_mb_per_h"] == pytest.approx(60)
    assert figures["p99_watched_over_alone"] == pytest.approx(1.1)
    assert figures["p50_watched_over_alone"] == 1
    assert judge_dashboard(alone) == {}


@pytest.mark.usefixtures("all_cores")
def test_a_browser_looks_at_a_measured_line_and_leaves_it_its_cores(small_bundle_path: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium; install it with: apt-get install chromium")
    settings = LineSettings(open_bundle(small_bundle_path), precision="f32", max_batch=2, previews=5)
    cores = os.sched_getaffinity(0)
    with loaded_line(settings, apart=True) as (_, line), DashboardProcess(line, 1) as dashboard:
        if len(cores) > 1:
            assert os.sched_getaffinity(line.pid) == cores - {max(cores)}
            assert os.sched_getaffinity(0) == {max(cores)}
        memory, cpu = dashboard.look()
        assert memory > 50
        assert cpu >= 0
        assert urllib.request.urlopen(dashboard.address, timeout=10).status == 200
    assert os.sched_getaffinity(0) == cores


def test_what_measures_runs_before_others_and_what_it_starts_does_not() -> None:
    before = os.sched_getscheduler(0)
    with subprocess.Popen(["sleep", "60"]) as other, zmq.Context() as context, context.socket(zmq.PULL):
        try:
            with before_others([other.pid]):
                # Where this user may not, nothing changes and nothing fails.
                allowed = os.sched_getscheduler(0) != before
                for thread in [other.pid, *(int(task.name) for task in Path("/proc/self/task").iterdir())]:
                    assert bool(os.sched_getscheduler(thread) & os.SCHED_FIFO) == allowed
                child = subprocess.check_output([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"])
                assert int(child) == before
            assert os.sched_getscheduler(other.pid) == before
        finally:
            other.kill()
    assert os.sched_getscheduler(0) == before
