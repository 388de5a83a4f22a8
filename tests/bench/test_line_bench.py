"""The harness on real lines in processes of their own: it finds again what is known of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from bench.load.loader import Loader
from bench.load.schedule import make_schedule
from bench.measure.line import LineBench
from bench.measure.line_process import LineProcess
from bench.measure.remote import Remote
from bench.measure.soak import judge_drift
from bench.report.results import Results, Sample, read_results
from engines.bundle import open_bundle
from engines.errors import TaktlineError
from tests.conftest import RunTaktline
from tests.pipeline.parts import until


@contextmanager
def timed_line(
    bundle: Path, data: Path, service_ms: float, stalls: int = -1, stall_ms: float = 0
) -> Iterator[LineBench]:
    """A line with an engine of known speed, loaded by another process."""
    command = [sys.executable, "-m", "tests.peers.timed_line", str(service_ms), str(stalls), str(stall_ms)]
    values = {"line": {"name": "timed"}, "model": {"bundle": str(bundle), "max_batch": 4}}
    with (
        LineProcess(values, 1, command) as line,
        Remote("the loader", Loader, line.feeds, data, open_bundle(bundle).size, "memory") as loader,
    ):
        assert line.status["engine"]["name"] == "timed"
        yield LineBench(line, loader)


@pytest.mark.serial
def test_a_known_service_time_and_a_stall_are_found_again(bundle_path: Path, drawn: Path) -> None:
    """An open loop sees a stall in every frame that came meanwhile, a closed one in a single frame."""
    with timed_line(bundle_path, drawn, 60, stalls=25, stall_ms=500) as bench:
        # Few enough a second that each is a batch of its own.
        steady = bench.measure("steady", make_schedule("constant", 5, 4), 0.0, {})
        stalled = bench.measure("stalled", make_schedule("constant", 10, 4), 0.0, {})
    assert steady.verdicts == {"ok": 20}
    assert stalled.verdicts == {"ok": 40}
    assert steady.split_ms["infer"]["p50"] >= 59.9
    assert steady.latency_ms["p50"] >= 59.9
    # The steps add up to the whole.
    parts = sum(step["mean"] for step in steady.split_ms.values())
    assert parts == pytest.approx(steady.latency_ms["mean"], rel=0.05)
    assert stalled.latency_ms["p99_9"] >= 500
    values, counts = stalled.latency().bars()
    # Those that came 0, 100, 200 and 300 ms after its begin waited for the rest of it.
    for least, frames in ((500, 1), (400, 2), (300, 3), (200, 4)):
        assert counts[values >= least].sum() >= frames


def test_a_line_that_cannot_start_or_dies_says_why(bundle_path: Path, drawn: Path, tmp_path: Path) -> None:
    # A path that its file must quote: with a quote, a backslash, and a character beyond 16 bits.
    missing = tmp_path / 'line "\\4" 🏭'
    with pytest.raises(TaktlineError, match=r"ended with exit code 2: .*🏭 is not a model\s+bundle"):
        LineProcess({"model": {"bundle": str(missing)}}, 1)
    with timed_line(bundle_path, drawn, 10) as bench:
        bench._line._process.kill()
        with pytest.raises(TaktlineError, match="ended with exit code -9"):
            bench.play(make_schedule("constant", 10, 1))
        # What waits in the loader has nobody to go to.
        bench._loader._process.kill()


def test_sigterm_ends_the_command_its_line_and_its_loader(bundle_path: Path, drawn: Path) -> None:
    command = [sys.executable, "-m", "taktline", "bench", "line", "--bundle", bundle_path, "--data", drawn]
    options = ["--rates", "4", "--seconds", "60", "--precision", "f32"]
    with subprocess.Popen([*map(str, command), *options], stderr=subprocess.PIPE, text=True) as process:
        try:
            own: list[psutil.Process] = []

            def all_run() -> bool:
                own[:] = psutil.Process(process.pid).children(recursive=True)
                try:
                    words = [" ".join(child.cmdline()) for child in own]
                except psutil.NoSuchProcess:
                    return False
                return any("taktline run" in each for each in words) and any("spawn_main" in each for each in words)

            until(all_run)
            process.terminate()
            assert process.wait(60) == 128 + signal.SIGTERM
        finally:
            process.kill()
    until(lambda: not any(child.is_running() for child in own))


def check_whole(found: Results, kind: str) -> None:
    assert found.kind == kind
    assert found.machine.cores >= 1
    assert found.machine.packages["openvino"]
    assert found.command.startswith(f"taktline bench {kind} ")
    for run in found.runs:
        assert set(run.latency_ms) == {"p50", "p90", "p95", "p99", "p99_9", "mean", "max"}
        assert 0 < run.latency_ms["p50"] <= run.latency_ms["p99_9"] <= run.latency_ms["max"]
        assert run.windows
        assert sum(stored.images for stored in run.windows) > 0
        assert run.latency().count > 0
        assert run.peak_memory_mb is not None and run.peak_memory_mb > 50


def check_page(path: Path, *words: str) -> None:
    page = path.read_text()
    assert "http" not in page.replace("http-equiv", "")
    for word in words:
        assert word in page


def test_bench_line(bundle_path: Path, drawn: Path, tmp_path: Path, taktline: RunTaktline) -> None:
    file, page = tmp_path / "line.json", tmp_path / "line.html"
    done = taktline(
        "bench", "line", "--bundle", bundle_path, "--data", drawn, "--rates", "4,8", "--seconds", 2, "--warm-up", 0.5,
        "--cameras", 2, "--decode", "jpeg", "--precision", "f32", "--takt", 5000, "--json", file, "--report", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "line at 8/s" in done.stdout
    found = read_results(file)
    check_whole(found, "line")
    assert [run.name for run in found.runs] == ["line at 4/s", "line at 8/s"]
    for run, frames in zip(found.runs, (8, 16), strict=True):
        assert sum(run.verdicts.values()) == frames
        assert set(run.verdicts) <= {"ok", "ng", "uninspected"}
        assert set(run.split_ms) == {"queue", "infer", "decide", "publish", "delivery"}
    for rate, run in zip((4, 8), found.runs, strict=True):
        assert 0 <= found.figures[f"rate_{rate}_late_share"] <= 1
        assert found.figures[f"rate_{rate}_slowest_ms"] >= run.latency_ms["p50"]
    check_page(page, "line at 4/s", "Latency against the rate", "Where the time went")


@pytest.mark.long(22)
def test_bench_line_searches_the_limit_beside_the_bare_engine(
    bundle_path: Path, drawn: Path, tmp_path: Path, taktline: RunTaktline
) -> None:
    file = tmp_path / "limit.json"
    done = taktline(
        "bench", "line", "--bundle", bundle_path, "--data", drawn, "--find-limit", "--takt", 1500, "--seconds", 0.4,
        "--warm-up", 0.1, "--max-batch", 2, "--precision", "f32", "--json", file,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = read_results(file)
    names = [run.name for run in found.runs]
    assert names[:3] == ["bare engine, batch 1", "bare engine, batch 2", "line, saturated"]
    figures = found.figures
    assert figures["sustained_over_engine"] > 0
    assert figures["limit_per_s"] > 0
    assert names[-2:] == ["line, at its limit", "line, at half of its limit"]
    assert figures["half_per_s"] == figures["limit_per_s"] / 2
    assert figures["half_p99_over_p50"] >= 1


def test_bench_soak(bundle_path: Path, drawn: Path, tmp_path: Path, taktline: RunTaktline) -> None:
    file, page = tmp_path / "soak.json", tmp_path / "soak.html"
    done = taktline(
        "bench", "soak", "--bundle", bundle_path, "--data", drawn, "--minutes", 0.05, "--sample", 1, "--rate", 6,
        "--precision", "f32", "--json", file, "--report", page,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = read_results(file)
    check_whole(found, "soak")
    assert len(found.samples) == 3
    for sample in found.samples:
        assert sample.memory_mb > 50
        assert sample.handles > 5
        assert sample.threads > 5
    check_page(page, "soak at 6/s", "Memory and latency over time")


def test_drift_is_told_from_noise() -> None:
    samples = [
        Sample(
            minute=float(number),
            memory_mb=500.0 + number + (-1) ** number,
            handles=40,
            threads=20,
            latency_ms={"p50": 15.0 if number >= 45 else 10.0, "p99": 20.0},
            uninspected=0,
        )
        for number in range(60)
    ]
    figures = judge_drift(samples)
    assert figures["memory_mb_per_h"] == pytest.approx(60, rel=0.02)
    assert figures["handles_per_h"] == pytest.approx(0, abs=1e-6)
    assert figures["p50_last_over_first"] == pytest.approx(1.5)
    assert figures["p99_last_over_first"] == 1
    assert judge_drift(samples[:10]) == {}
