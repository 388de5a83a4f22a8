"""Evaluation, the report and the table, from the command line on drawn parts."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from calibration.dataset import Sample, open_test_split
from calibration.evaluate import evaluate, image_metrics
from calibration.report import write_report
from engines.bundle import open_bundle
from engines.registry import open_engine
from tests.conftest import RunTaktline


def parts(labels: list[bool]) -> list[Sample]:
    return [Sample(Path(f"{index}.png"), "bent" if bad else "good") for index, bad in enumerate(labels)]


def test_figures_equal_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    defective = rng.random(200) < 0.4
    scores = rng.standard_normal(200) + defective
    found = image_metrics(scores, parts(defective.tolist()), 0.7)
    assert found["auroc"] == pytest.approx(roc_auc_score(defective, scores))
    assert found["f1"] == pytest.approx(f1_score(defective, scores > 0.7))
    assert found["best_f1"] == pytest.approx(max(f1_score(defective, scores >= level) for level in scores))
    low, high = found["auroc_interval"]
    assert low < found["auroc"] < high
    assert 0.03 < high - low < 0.25
    counts = found["confusion"]
    assert counts["tp"] + counts["fn"] == defective.sum()
    assert found["recall_by_defect"] == {"bent": {"found": counts["tp"], "parts": int(defective.sum())}}


def test_one_kind_of_part_leaves_figures_open() -> None:
    found = image_metrics(np.array([1.0, 2.0]), parts([False, False]), 1.5)
    assert found["auroc"] is None
    assert found["recall"] is None
    assert found["false_alarm_rate"] == 0.5


def test_evaluate_writes_figures_and_a_report(
    drawn: Path, bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    figures, report = tmp_path / "figures.json", tmp_path / "report.html"
    done = taktline_in_process(
        "evaluate", bundle_path, drawn, "--precision", "f32", "--miss-costs", 50, "--json", figures, "--report", report
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads(figures.read_text())
    assert metrics["parts"] == 18
    assert metrics["pixel_auroc"] > 0.5
    assert 0 < metrics["aupro"] <= 1
    assert metrics["cheapest"]["miss_costs"] == 50
    assert metrics["cheapest"]["threshold"] <= metrics["threshold"] or metrics["cheapest"]["misses"] == 0
    assert set(metrics["recall_by_defect"]) == {"chip", "dent", "scratch", "stain", "swarf"}
    page = report.read_text()
    assert not re.search(r'(src|href)="(?!data:)', page), "the report must not need a network"
    assert page.count("<figure>") >= 16
    for word in (
        "Histogram",
        "roc",
        "losses",
        "Defects that were missed",
        "Good parts that were rejected",
        "false alarms",
        "In the long run",
        "Misses and false alarms at every threshold",
        "one missed defect costs as much as 50",
    ):
        assert word in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures.json", "report.html"]


def test_a_bundle_keeps_what_an_evaluation_showed_until_its_threshold_changes(
    drawn: Path, small_bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    copy = Path(shutil.copytree(small_bundle_path, tmp_path / "copy"))
    figures = tmp_path / "figures.json"
    done = taktline_in_process("evaluate", copy, drawn, "--precision", "f32", "--keep", "--json", figures)
    assert done.returncode == 0, done.stderr
    bundle, metrics = open_bundle(copy), json.loads(figures.read_text())
    assert f"its id is now {bundle.short_id}" in " ".join(done.stderr.split())
    found = bundle.manifest.evaluated
    assert found is not None
    assert (found.data, found.good, found.defective) == (drawn.name, 8, 10)
    assert (found.false_alarms, found.misses) == (metrics["confusion"]["fp"], metrics["confusion"]["fn"])
    assert (found.auroc, found.f1) == (metrics["auroc"], metrics["f1"])
    assert sum(one.found for one in found.defects.values()) == 10 - found.misses
    assert taktline_in_process("threshold", copy, "--value", 3).returncode == 0
    assert open_bundle(copy).manifest.evaluated is None
    assert taktline_in_process("evaluate", "--all", drawn.parent, "--keep").returncode == 2


def test_a_report_without_defects_is_written_too(small_bundle_path: Path, drawn: Path, tmp_path: Path) -> None:
    bundle = open_bundle(small_bundle_path)
    good = [sample for sample in open_test_split(drawn) if not sample.defective]
    with open_engine(bundle, "openvino", "f32", 8) as engine:
        evaluation = evaluate(bundle, engine, good)
    write_report(tmp_path / "r.html", bundle, evaluation)
    page = (tmp_path / "r.html").read_text()
    assert "Precision" not in page
    assert "Misses against" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{bundle}", "{drawn}", "--report", "nowhere/r.html"], "no writable folder"),
        (["{bundle}", "{drawn}", "--report", "{drawn}"], "is a folder"),
        (["{bundle}"], "give a bundle and a data set"),
        (["--all", "{drawn}/nowhere"], "no folder"),
        (["--all", "{drawn}/train"], "no folder under"),
        (["{bundle}", "{drawn}", "--all", "x"], "--all takes no bundle"),
        (["{bundle}", "{drawn}", "--miss-costs", "0"], "what one missed defect costs"),
        (["--all", "{drawn}/train", "--miss-costs", "50"], "--all takes no --miss-costs"),
    ],
)
def test_bad_input_gets_one_sentence(
    arguments: list[str], message: str, drawn: Path, small_bundle_path: Path, taktline_in_process: RunTaktline
) -> None:
    done = taktline_in_process(
        "evaluate", *(argument.format(bundle=small_bundle_path, drawn=drawn) for argument in arguments)
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_thresholds_are_chosen_anew(
    drawn: Path, small_bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    copy = Path(shutil.copytree(small_bundle_path, tmp_path / "copy"))
    before = open_bundle(copy)
    done = taktline_in_process("threshold", copy, "--rule", "false-alarm-rate", "--value", 0.02, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["warning"]
    changed = open_bundle(copy)
    assert changed.manifest.threshold.rule == "false-alarm-rate"
    assert changed.manifest.files == before.manifest.files
    assert changed.sha256 != before.sha256
    done = taktline_in_process("threshold", copy, "--max-false-alarms", 20)
    assert done.returncode == 0, done.stderr
    assert "In the long run" in done.stdout
    assert open_bundle(copy).manifest.threshold == changed.manifest.threshold
    done = taktline_in_process("threshold", copy, "--rule", "f1", "--data", drawn)
    assert done.returncode == 0, done.stderr
    assert "tuned on defects" in done.stdout.replace("\n", " ")
    assert open_bundle(copy).manifest.threshold.tuned_on_defects
    for rule in ([], ["--rule", "cost"]):
        assert taktline_in_process("threshold", copy, *rule, "--miss-costs", 50, "--data", drawn).returncode == 0
        found = open_bundle(copy).manifest.threshold
        assert (found.rule, found.parameter, found.tuned_on_defects) == ("cost", 50, True)
    last = open_bundle(copy).sha256
    refused: list[list[object]] = [
        ["--rule", "f1"],
        ["--value", "nan"],
        ["--miss-costs", 50],
        ["--rule", "cost", "--data", drawn],
        ["--rule", "cost", "--value", 2, "--data", drawn],
        ["--miss-costs", 50, "--max-false-alarms", 10, "--data", drawn],
        ["--max-false-alarms", 10, "--rule", "sigma"],
        ["--max-false-alarms", 10, "--value", 2],
        ["--max-false-alarms", 0],
        ["--max-false-alarms", 500],
        ["--max-false-alarms", "nan"],
    ]
    for options in refused:
        done = taktline_in_process("threshold", copy, *options)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), options
    assert open_bundle(copy).sha256 == last
    assert {path.name for path in copy.iterdir()} == {*before.manifest.files, "manifest.json"}


def test_evaluation_and_thresholds_need_no_pytorch(
    drawn: Path, small_bundle_path: Path, tmp_path: Path, taktline_without: RunTaktline
) -> None:
    copy, report = shutil.copytree(small_bundle_path, tmp_path / "copy"), tmp_path / "report.html"
    heavy = ("torch", "torchvision", "safetensors", "onnx", "onnxscript")
    done = taktline_without(heavy, "evaluate", copy, drawn, "--precision", "f32", "--report", report)
    assert (done.returncode, report.is_file()) == (0, True), done.stderr
    done = taktline_without(heavy, "threshold", copy, "--rule", "f1", "--data", drawn)
    assert done.returncode == 0, done.stderr
    assert open_bundle(copy).manifest.threshold.rule == "f1"
    refused = taktline_without((*heavy, "sklearn"), "threshold", copy)
    assert "install it with: pip install 'taktline[evaluate]'" in " ".join(refused.stderr.split())


def test_the_default_threshold_keeps_its_promise_on_real_parts(pill: Path, pill_bundle: Path) -> None:
    """False alarms on test/good lie within the interval that the manifest states, and accuracy is what it was."""
    bundle = open_bundle(pill_bundle)
    with open_engine(bundle, "openvino", "f32", 8) as engine:
        found = evaluate(bundle, engine, open_test_split(pill)).metrics
    low, high = bundle.manifest.threshold.interval_per_1000
    print({name: found[name] for name in ("auroc", "f1", "pixel_auroc", "aupro", "false_alarm_rate")}, (low, high))
    assert low <= 1000 * found["false_alarm_rate"] <= high
    # One seed on whatever processor this is; the recipe's own table is over three.
    assert found["auroc"] >= 0.94
    assert found["pixel_auroc"] >= 0.965
    assert found["f1"] >= 0.82
