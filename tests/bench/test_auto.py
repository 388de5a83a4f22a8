"""`bench engine` says how close `auto` comes to the best that was measured beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.measure.auto import compare_auto
from bench.report.results import Run
from engines.auto import Request, choose_engine
from engines.bundle import open_bundle


def made_run(engine: str, precision: str, batch: int, rate: float) -> Run:
    return Run(
        name=f"{engine} cpu {precision}, batch {batch}",
        kind="engine",
        settings={"engine": engine, "device": "cpu", "precision": precision, "batch": batch},
        images_per_s=rate,
        latency_ms={"mean": 1000 / rate},
    )


def test_the_choice_is_held_against_the_fastest_with_float32s_verdicts(small_bundle_path: Path) -> None:
    bundle = open_bundle(small_bundle_path)
    chosen = choose_engine(bundle, Request(max_batch=1)).chosen
    runs = [
        made_run(chosen.engine, chosen.precision, 1, 30.0),
        made_run("another", "f32", 1, 40.0),
        made_run("wrong verdicts", "bf16", 1, 90.0),
        made_run("another", "f32", 4, 50.0),
    ]
    figures, said = compare_auto(bundle, runs)
    assert figures == pytest.approx({"auto_latency_over_best": 0.75})
    assert said == [
        f"for batches of 1, auto takes {chosen.name}: 30.0 images/s here, 0.75 of the best, another cpu f32"
    ]


def test_nothing_is_said_where_nothing_was_measured(small_bundle_path: Path) -> None:
    bundle = open_bundle(small_bundle_path)
    assert compare_auto(bundle, []) == ({}, [])
    assert compare_auto(bundle, [made_run("wrong verdicts", "bf16", 1, 90.0)]) == ({}, [])
