"""What a verdict claims: exact only against the threshold that its score was looked at near."""

from __future__ import annotations

import time

import numpy as np
import pytest

from engines.bundle import Bundle
from engines.engine import Scores
from pipeline.config.sections import DecisionSection
from pipeline.flow.frame import Frame
from pipeline.line.judge import Judge
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
