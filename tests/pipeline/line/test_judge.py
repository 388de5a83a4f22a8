"""What a verdict claims: exact only against the threshold that its score was looked at near."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from engines.bundle import Bundle
from engines.engine import Scores
from engines.errors import ConfigError
from engines.manifest import RegionThreshold
from pipeline.config.sections import DecisionSection
from pipeline.flow.frame import Frame
from pipeline.line.judge import Judge
from pipeline.line.regions import RegionRule
from pipeline.protocol.verdict import Verdict
from tests.pipeline.line.test_takt import TimedEngine


@pytest.mark.parametrize(
    ("looked_near", "judged_by", "exact", "rescored", "claims"),
    [
        # A second look was taken where it was needed, and the threshold is still there.
        (2.0, 2.0, True, False, True),
        # The threshold moved while the batch was in the engine: nobody looked near the new one.
        (2.0, 3.0, True, False, False),
        # But a float32 score is float32's wherever the threshold lies.
        (2.0, 3.0, True, True, True),
        # So is every score of an engine that computes in float32.
        (None, 3.0, True, False, True),
        # There was no time for the second look.
        (2.0, 2.0, False, False, False),
    ],
)
def test_exact_holds_for_the_threshold_it_was_found_for(
    bundle: Bundle, looked_near: float | None, judged_by: float, exact: bool, rescored: bool, claims: bool
) -> None:
    heatmap = np.zeros((1, 8, 8), np.float32)
    scores = Scores(np.array([2.5], np.float32), heatmap, np.array([exact]), np.array([rescored]), looked_near)
    with TimedEngine((64, 64), lambda _count: None) as engine:
        judge = Judge(bundle, engine, DecisionSection(sigma=2.0), "line")
        judge.threshold = judged_by
        frame = Frame("a", 0, np.zeros((64, 64, 3), np.uint8), time.time_ns(), time.monotonic_ns())
        verdict = judge.inspected(frame, scores, 0).verdict
    assert verdict.exact is claims
    assert verdict.threshold == judged_by
    assert (verdict.verdict == "ng") == (judged_by < 2.5)


def region_verdict(
    bundle: Bundle, settings: DecisionSection, score: float, cells: int, precision: str, rescored: bool = False
) -> Verdict:
    """Judges a part of 128 x 128 pixels with so many cells of 8 x 8 pixels in a row at 6 sigma."""
    heatmap = np.zeros((1, 16, 16), np.float32)
    heatmap[0, 3, 2 : 2 + cells] = 6.0
    scores = Scores(
        np.array([score], np.float32), heatmap, np.array([True]), np.array([rescored]), 2.0, None, "e", precision
    )
    with TimedEngine((64, 64), lambda _count: None) as engine:
        judge = Judge(bundle, engine, settings, "line")
        judge.threshold = 2.0
        frame = Frame("a", 0, np.zeros((128, 128, 3), np.uint8), time.time_ns(), time.monotonic_ns())
        return judge.inspected(frame, scores, 0).verdict


@pytest.mark.parametrize(
    ("score", "cells", "min_region_px", "outcome"),
    [
        (1.0, 4, 256, "ng"),
        # One pixel too small.
        (1.0, 4, 257, "ok"),
        (1.0, 1, 0, "ng"),
        (1.0, 0, 0, "ok"),
        (3.0, 0, 256, "ng"),
        (3.0, 4, 256, "ng"),
    ],
)
def test_a_region_that_is_large_enough_decides_with_the_score(
    bundle: Bundle, score: float, cells: int, min_region_px: int, outcome: str
) -> None:
    both = DecisionSection(rule="score-or-region", region_sigma=5.0, min_region_px=min_region_px)
    verdict = region_verdict(bundle, both, score, cells, "f32")
    assert (verdict.verdict, verdict.reason, verdict.threshold) == (outcome, None, 2.0)
    if outcome == "ng" and score < 2.0:
        assert [(region.x, region.y, region.w, region.h) for region in verdict.regions] == [(16, 24, 8 * cells, 8)]
    alone = region_verdict(bundle, DecisionSection(min_region_px=min_region_px), score, cells, "f32")
    assert alone.verdict == ("ng" if score > 2.0 else "ok")


@pytest.mark.parametrize(
    ("precision", "rescored", "score", "rule", "exact"),
    [
        # The score alone makes it defective, whatever the heatmap shows.
        ("bf16", False, 3.0, "score-or-region", True),
        # The heatmap decides, and it is bfloat16's.
        ("bf16", False, 1.0, "score-or-region", False),
        ("bf16", False, 1.0, "score", True),
        # After a second look it is float32's.
        ("bf16", True, 1.0, "score-or-region", True),
        ("f32", False, 1.0, "score-or-region", True),
    ],
)
@pytest.mark.parametrize("cells", [0, 4])
def test_a_verdict_that_rests_on_a_heatmap_is_exact_only_in_float32(
    bundle: Bundle, precision: str, rescored: bool, score: float, rule: Literal["score", "score-or-region"],
    exact: bool, cells: int,
) -> None:  # fmt: skip
    settings = DecisionSection(rule=rule, region_sigma=5.0 if rule == "score-or-region" else None)
    assert region_verdict(bundle, settings, score, cells, precision, rescored).exact is exact


def test_regions_are_held_against_the_threshold_of_their_size(bundle: Bundle) -> None:
    rows = tuple(
        RegionThreshold(cells=cells, value=value, false_alarms_per_1000=1, interval_per_1000=(0, 9))
        for cells, value in ((1, 9.0), (2, 7.0), (4, 5.0))
    )
    known = replace(bundle, manifest=bundle.manifest.model_copy(update={"regions": rows}))
    sigma = np.zeros((16, 16), np.float32)
    # Cells have 8 x 8 pixels of the frame.
    for min_region_px, value in ((0, 9.0), (64, 9.0), (65, 7.0), (128, 7.0), (192, 7.0), (193, 5.0), (9999, 5.0)):
        rule = RegionRule.read(known, DecisionSection(rule="score-or-region", min_region_px=min_region_px))
        assert rule is not None
        assert rule.threshold(sigma, (128, 128)) == value
    assert RegionRule.read(known, DecisionSection()) is None


def test_a_bundle_without_thresholds_for_regions_is_refused(bundle: Bundle) -> None:
    old = replace(bundle, manifest=bundle.manifest.model_copy(update={"regions": ()}))
    with pytest.raises(ConfigError, match="has no thresholds for regions"):
        RegionRule.read(old, DecisionSection(rule="score-or-region"))
    assert RegionRule.read(old, DecisionSection(rule="score-or-region", region_sigma=4.0)) is not None


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_no_verdict(bundle: Bundle, score: float) -> None:
    flags = np.array([True])
    scores = Scores(np.array([score], np.float32), np.zeros((1, 8, 8), np.float32), flags, flags)
    with TimedEngine((64, 64), lambda _count: None) as engine:
        frame = Frame("a", 0, None, time.time_ns(), time.monotonic_ns())
        verdict = Judge(bundle, engine, DecisionSection(), "line").inspected(frame, scores, 0).verdict
    assert (verdict.verdict, verdict.reason, verdict.score, verdict.exact) == (
        "uninspected", "engine_error", None, False,
    )  # fmt: skip
