"""A running line's metrics, read as Prometheus reads them, and Prometheus itself where it is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from pipeline.line.build import build_line
from pipeline.line.line import Line
from tests.paths import ROOT
from tests.pipeline.line.test_line import config

DOCS = ROOT / "docs"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@contextmanager
def finished_line(drawn: Path, bundle_path: Path, tmp_path: Path) -> Iterator[Line]:
    """A line that has answered for 18 frames and still tells how it is."""
    address = "tcp://127.0.0.1:*"
    settings = config(
        bundle_path, f"replay:{drawn}", address, publish={"verdicts": address}, health={"bind": "127.0.0.1:0"},
        line={"takt_ms": 60_000}, journal={"path": tmp_path / "line.journal"},
    )  # fmt: skip
    with build_line(settings, watched=True) as line:
        line.start()
        assert len(list(line.decided())) == 18
        yield line


def address(line: Line) -> str:
    assert line.health is not None
    return line.health.address


def scrape(line: Line) -> Samples:
    with urlopen(f"{address(line)}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_a_scrape_tells_what_the_line_did(drawn: Path, bundle_path: Path, tmp_path: Path) -> None:
    with finished_line(drawn, bundle_path, tmp_path) as line:
        found = scrape(line)
        status = line.status()

    def value(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    verdicts = {name: value("taktline_verdicts_total", camera="top", verdict=name, reason="") for name in ("ok", "ng")}
    assert value("taktline_frames_total", camera="top") == 18
    assert sum(verdicts.values()) == 18
    assert verdicts == {"ok": 0, "ng": 0} | status["cameras"]["top"]["verdicts"]
    # It is there before the first late frame, so that a rate sees that one as well.
    assert value("taktline_verdicts_total", camera="top", verdict="uninspected", reason="late") == 0
    for step in ("queue", "infer", "decide", "publish", "total"):
        assert value("taktline_latency_seconds_count", step=step) == 18
    parts = [value("taktline_latency_seconds_sum", step=step) for step in ("queue", "infer", "decide", "publish")]
    assert value("taktline_latency_seconds_sum", step="total") == pytest.approx(sum(parts))
    assert value("taktline_latency_seconds_bucket", step="total", le="60.0") == 18
    assert value("taktline_takt_seconds") == 60
    assert value("taktline_score_sigma_count") == 18
    assert value("taktline_batch_frames_sum") == 18
    assert 18 / 4 <= value("taktline_batch_frames_count") <= 18
    assert value("taktline_queue_depth", queue="frames") == 0
    assert value("taktline_live") == value("taktline_ready") == value("taktline_engine_up") == 1
    assert value("taktline_journal_verdicts_total") == 18
    assert value("taktline_journal_waiting_verdicts") == value("taktline_journal_lag_seconds") == 0
    assert value("taktline_journal_disk_free_bytes") > 0
    assert value("taktline_threshold_sigma") == status["threshold"]
    (labels,) = [labels for name, labels in found if name == "taktline_build_info"]
    assert dict(labels)["bundle"] == status["bundle"]


def test_every_metric_is_documented_and_every_documented_metric_is_there(
    drawn: Path, bundle_path: Path, tmp_path: Path
) -> None:
    with (
        finished_line(drawn, bundle_path, tmp_path) as line,
        urlopen(f"{address(line)}/metrics", timeout=5) as answer,
    ):
        families = [family.name for family in parse(answer.read().decode())]
    exported = {name for name in families if not name.endswith("_created")}
    text = (DOCS / "monitoring.md").read_text()
    documented = set(re.findall(r"^\| `(taktline_[a-z_]+)` \|", text, re.MULTILINE))
    documented |= set(re.findall(r"`(process_[a-z_]+)`", text))
    assert exported == documented


def test_alert_rules_ask_for_metrics_that_exist(drawn: Path, bundle_path: Path, tmp_path: Path) -> None:
    rules = (DOCS / "prometheus-alerts.yml").read_text()
    documented = set(re.findall(r"`(taktline_[a-z_]+)`", (DOCS / "monitoring.md").read_text()))
    asked = set(re.findall(r"taktline_[a-z_]+", re.sub(r'(job=|summary:|action:).*"', "", rules)))
    assert asked
    assert {re.sub(r"_(total|bucket)$", "", name) for name in asked} <= documented
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; apt-get install prometheus brings it")
    done = subprocess.run(
        ["promtool", "check", "rules", str(DOCS / "prometheus-alerts.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_a_line_and_answers_questions_about_it(
    drawn: Path, bundle_path: Path, tmp_path: Path, endpoint: str
) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed; apt-get install prometheus brings it")
    own = endpoint.removeprefix("tcp://")
    with finished_line(drawn, bundle_path, tmp_path) as line:
        target = address(line).removeprefix("http://")
        (tmp_path / "prometheus.yml").write_text(
            f"global: {{scrape_interval: 200ms}}\nrule_files: [{DOCS / 'prometheus-alerts.yml'}]\n"
            f"scrape_configs: [{{job_name: taktline, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        process = subprocess.Popen(
            ["prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
             f"--web.listen-address={own}"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            query = f"http://{own}/api/v1/query?query={quote('sum by (camera) (taktline_verdicts_total)')}"
            deadline = time.monotonic() + 60
            while not (found := ask(query)):
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.1)
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=30)
    assert found[0]["metric"] == {"camera": "top"}, errors
    assert float(found[0]["value"][1]) == 18


def ask(query: str) -> list[dict[str, Any]]:
    try:
        with urlopen(query, timeout=5) as answer:
            result: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
            return result
    except OSError:
        return []
