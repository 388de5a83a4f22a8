"""No table cuts a figure, however narrow the terminal is."""

from __future__ import annotations

import io
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.measure.agreement import Agreement, list_engines
from bench.measure.capture import Captured
from bench.measure.delivery import Delivered
from bench.measure.fanout import Fanned
from bench.measure.history import Waited
from bench.measure.inspect import Rate
from bench.report.compare import compare_results
from bench.report.results import Run
from calibration.dataset import Sample, find_dataset
from calibration.evaluate import Evaluation, image_metrics
from calibration.suite_figures import FIGURES
from calibration.survey import survey_dataset
from pipeline.journal.check import Verification
from pipeline.protocol.verdict import Verdict
from pipeline.publish.metrics import LineMetrics
from taktline.cli.bench.capture import capture_table
from taktline.cli.bench.delivery import delivery_table
from taktline.cli.bench.fanout import fanout_table
from taktline.cli.bench.history import history_table
from taktline.cli.bench.inspect import rate_table
from taktline.cli.bench.tables import changes_table, results_tables
from taktline.cli.dataset import survey_table
from taktline.cli.engines import agreement_table, engines_table
from taktline.cli.evaluate_tables import category_tables, evaluation_tables
from taktline.cli.journal.verify import check_table
from taktline.cli.keys import key_table
from taktline.cli.live import live_table
from taktline.cli.run_tables import summary_tables
from taktline.cli.status import status_tables
from taktline.cli.suite_tables import evaluated_tables
from taktline.cli.summary import RunSummary
from taktline.cli.table import Column, ResultTable
from tests.bench.test_compare import results
from tests.conftest import RunTaktline
from tests.pipeline.protocol.test_verdict import VERDICT

LATENCY = {"p50": 123.4, "p90": 150.0, "p95": 1234.5, "p99": 2345.6, "p99_9": 3456.7, "mean": 130.0, "max": 4000.0}


def engine_tables() -> list[object]:
    row = Agreement(
        "onnxruntime", "CPU (AMD EPYC 7B13)", "int8+f32",
        -0.1234, 0.4012, 0.5123, 0.98765, 0.9532, 12, 0.42, 0.169, 123.4, 98.7,
    )  # fmt: skip
    return [engines_table(list_engines()), agreement_table([row, replace(row, flips=0, auroc=None)], 160)]


def bench_tables() -> list[object]:
    engine = Run(
        name="openvino cpu bf16+f32, batch 16", kind="engine", images_per_s=123.4, steady=False, latency_ms=LATENCY,
        variation=0.12, split_ms={"copy_in": LATENCY, "compute": LATENCY}, ratio=1.23,
        baseline="torch cpu f32, batch 8", peak_memory_mb=1234.0,
    )  # fmt: skip
    line = Run(
        name="poisson 1234.5/s, jpeg", kind="line", images_per_s=98.7, latency_ms=LATENCY, lag_ms=LATENCY,
        split_ms=dict.fromkeys(("queue", "infer", "decide", "publish", "delivery"), LATENCY),
        verdicts={"ok": 1000, "missing": 1}, reasons={"late": 1234, "dropped": 5678},
    )  # fmt: skip
    peer = Run(name="anomalib EfficientAd-S, OpenVINO, files", kind="peer", images_per_s=5.3, ratio=0.34, note="a note")
    found = results(1.0, 1).model_copy(
        update={"runs": (engine, line, peer), "figures": {"sustained_per_s": 1234.5, "half_p50_over_engine_ms": 3.1}}
    )
    changes = compare_results(results(1.0, 1), results(1.3, 2), 0.1)
    return [*results_tables(found), changes_table(changes, 0.1)]


def part_tables() -> list[object]:
    captured = [Captured("processes", 64, 12345.6, 192.9, 12.34)]
    delivered = [Delivered("none", 41234.0, 0.41, 1.23), Delivered("power", 27123.0, 0.82, 2.34)]
    waited = [Waited("a score in the middle", 10000, 1234.5, 1234.5, 12.3), Waited("corrupt (none)", 0, 0.1, 0.1, None)]
    fanned = [Fanned(1, 237448.1, 5.5, 0.12, 291), Fanned(1000, 1234.5, 105.5, 0.12, 291)]
    rates = [Rate("bare engine", 1234.5, 1.0), Rate("decoded, on Ray", 1230.1, 0.96)]
    return [
        capture_table(captured), delivery_table(delivered, 200), history_table(waited, 20_000_000),
        fanout_table(fanned), rate_table(rates, 400, 5),
    ]  # fmt: skip


def run_tables() -> list[object]:
    summary = RunSummary()
    for label in ("good", "scratch"):
        summary.add(VERDICT, label)
    summary.add(replace(VERDICT, precision="f32", exact=True), "scratch")
    summary.add(replace(VERDICT, verdict="uninspected", reason="engine_error", score=None), None)
    live: deque[tuple[Verdict, str | None]] = deque(
        [(replace(VERDICT, part="a/rather/long/name/of/a/picture/0001.png"), "scratch_head")]
    )
    return [*summary_tables(summary), live_table(live, "openvino bf16   tcp://127.0.0.1:5556")]


def status_table() -> list[object]:
    metrics = LineMetrics(["the camera at the top of press 4", "side"])
    status = {
        "line": "press4", "live": True, "ready": False, "why_not": ["the line is paused"], "cameras": metrics.status(),
        "engine": {"name": "openvino", "precision": "bf16"},
    }  # fmt: skip
    for camera in status["cameras"].values():  # type: ignore[attr-defined]
        camera["verdicts"] = dict.fromkeys(("ok", "ng", "dropped", "late", "corrupt", "engine_error"), 123456)
        camera["last_frame_s"] = 1234.5
    return list(status_tables(status))


def evaluation() -> list[object]:
    samples = tuple(
        Sample(Path(f"{kind}.png"), kind, None) for kind in ("good", "good", "scratch", "a_long_name_of_it")
    )
    scores = np.array([0.1, 2.3, 4.5, 6.7])
    metrics = image_metrics(scores, samples, 2.0, miss_costs=50) | {"pixel_auroc": 0.973, "aupro": 0.893}
    found = Evaluation(samples, scores, np.zeros((4, 8, 8), np.float32), 2.0, "openvino bf16+f32", metrics)
    rows = [{"category": name} | dict.fromkeys(FIGURES, 0.987) for name in ("bottle", "cable", "metal_nut", "screw")]
    rows.append({"category": "mean"} | dict.fromkeys(FIGURES, 0.9))
    spread = [{"category": "cable"} | dict.fromkeys(FIGURES, 0.0123)]
    failed = [{"category": "metal_nut", "seed": 12345, "why": "metal_nut/train/good/003.png is cut short"}]
    several = evaluated_tables({"rows": rows, "spread": spread, "failed": failed})
    return [*evaluation_tables(found), *category_tables(rows), *several]


def file_tables() -> list[object]:
    check = Verification(verdicts=12345678, pictures=123456, waited=123, epochs=12, faults=["a fault"])
    return [check_table(check, Path("runs/press4.journal")), key_table({"office": b"k" * 40}, "keys in keys")]


@pytest.mark.parametrize(
    "make", [engine_tables, bench_tables, part_tables, run_tables, status_table, evaluation, file_tables]
)
@pytest.mark.parametrize("width", [200, 80, 60])
def test_every_figure_is_whole_at_this_width(make: object, width: int) -> None:
    for item in make():  # type: ignore[operator]
        check(item, width)


def test_a_data_set_fits(drawn: Path) -> None:
    check(survey_table(survey_dataset(find_dataset(drawn))), 60)


def check(item: object, width: int) -> None:
    printed = io.StringIO()
    Console(file=printed, width=width).print(item)
    text = printed.getvalue()
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines()), text
    if isinstance(item, ResultTable):
        for row in item.rows:
            for column, cell in zip(item.columns, row, strict=True):
                # Prose may be wrapped; a row's heading alone on its line is wrapped where it is wider than that.
                if not column.prose and cell.cell_len <= width:
                    assert cell.plain in text, text


def test_a_wide_table_stays_a_table_and_becomes_lines_where_it_must() -> None:
    table = ResultTable(
        "engine", "images/s", "p50", Column("why not", prose=True), title="engines", caption="of one run"
    )
    table.add_row("openvino", "52.9", "19.7", "")
    table.add_row("tensorrt", "-", "-", "there is no NVIDIA GPU in this machine, or its driver is missing")
    wide, narrow = io.StringIO(), io.StringIO()
    Console(file=wide, width=80).print(table)
    Console(file=narrow, width=30).print(table)
    assert "│ openvino │" in wide.getvalue()
    assert [line.rstrip() for line in narrow.getvalue().splitlines()] == [
        "engines",
        "engine openvino",
        "  images/s 52.9   p50 19.7",
        "engine tensorrt",
        "  images/s -   p50 -",
        "  why not there is no NVIDIA",
        "  GPU in this machine, or its",
        "  driver is missing",
        "of one run",
    ]


def test_a_row_has_a_cell_for_every_column() -> None:
    with pytest.raises(ValueError, match="2 cells, the table 1 columns"):
        ResultTable("one").add_row("1", "2")


def test_a_pipe_gets_the_same(taktline_in_process: RunTaktline) -> None:
    """What is captured here is no terminal, as in a pipe."""
    done = taktline_in_process("engines")
    assert done.returncode == 0
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert all(state.name in done.stdout for state in list_engines())
