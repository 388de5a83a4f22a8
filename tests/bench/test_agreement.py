"""Every engine gives the same verdict on real pictures, and the command that says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.measure.agreement import Agreement, Pictures, check_agreement, list_engines
from calibration.dataset import open_test_split, read_frames
from calibration.progress import silent
from engines.bundle import open_bundle
from engines.registry import ENGINES
from taktline.cli.engines import agreement_table
from tests.conftest import RunTaktline

_MOST = 96


@pytest.mark.long(180)
@pytest.mark.timeout(1200)
def test_all_engines_give_the_same_verdicts_on_real_pictures(pill: Path, pill_bundle: Path) -> None:
    bundle = open_bundle(pill_bundle)
    samples = open_test_split(pill)
    samples = [samples[int(index)] for index in np.linspace(0, len(samples) - 1, min(_MOST, len(samples)))]
    frames = np.stack(list(read_frames(samples, bundle.size)))
    defective = np.array([sample.defective for sample in samples])
    results = check_agreement(bundle, Pictures(frames, defective), silent, good_rate=False)
    from rich.console import Console

    Console(width=160).print(agreement_table(results, len(frames)))
    print(bundle.manifest.int8, bundle.manifest.bands)
    seen = {(result.engine, result.precision): result for result in results}
    assert {("torch", "f32"), ("openvino", "f32"), ("onnxruntime", "f32")} <= set(seen)
    assert bundle.manifest.int8 is not None
    assert bundle.manifest.int8.accepted, bundle.manifest.int8.reason
    assert bundle.manifest.int8.auroc is not None
    assert {("openvino", "int8"), ("openvino", "int8+f32")} <= set(seen)
    reference = seen["torch", "f32"]
    for result in results:
        check_result(result, reference)


def check_result(result: Agreement, reference: Agreement) -> None:
    name = f"{result.engine} {result.precision}"
    assert result.auroc is not None
    assert reference.auroc is not None
    assert abs(result.auroc - reference.auroc) <= 0.01, name
    if result.precision == "f32":
        assert result.largest <= 0.05, name
        assert result.furthest_flip <= 0.05, name
        assert result.heatmap > 0.9999, name
    if result.precision.endswith("+f32"):
        assert result.flips == 0, name
        assert 0 < result.rescored < 0.5, name


def test_the_command_lists_every_engine_and_why_it_cannot_run(
    taktline_in_process: RunTaktline,
) -> None:
    done = taktline_in_process("engines", "--json")
    assert done.returncode == 0, done.stderr
    states = json.loads(done.stdout)
    assert {state["name"] for state in states} == set(ENGINES)
    for state in states:
        assert (state["reason"] is None) == bool(state["precisions"])
    assert [state["name"] for state in states] == [state.name for state in list_engines()]
    assert "can run" in taktline_in_process("engines").stdout


def test_the_command_checks_a_bundle(bundle_path: Path, drawn: Path, taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process("engines", "--check", bundle_path, drawn, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows[0]["engine"] == "torch"
    assert rows[0]["largest"] == 0
    assert all(row["flips"] == 0 for row in rows if row["precision"].endswith("f32"))
    assert all(row["images_per_s"] > 0 and row["auroc"] is not None for row in rows)
    unlabelled = json.loads(taktline_in_process("engines", "--check", bundle_path, "--json").stdout)
    assert all(row["auroc"] is None for row in unlabelled)
    refused = taktline_in_process("engines", drawn)
    assert refused.returncode == 2
    assert "--check BUNDLE" in refused.stderr
