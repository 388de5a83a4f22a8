"""The figures of a run."""

from __future__ import annotations

from dataclasses import replace

from taktline.cli.summary import RunSummary
from tests.pipeline.protocol.test_verdict import VERDICT


def test_a_summary_counts_every_verdict_once() -> None:
    summary = RunSummary()
    summary.add(VERDICT, "scratch")
    summary.add(VERDICT, "good")
    values = summary.to_json()
    assert values["verdicts"] == {"ok": 0, "ng": 2, "uninspected": 0}
    assert values["against_labels"]["confusion"] == {"tp": 1, "fp": 1, "fn": 0, "tn": 0}
    assert values["against_labels"]["precision"] == 0.5


def test_the_share_of_rescored_frames_needs_two_precisions() -> None:
    summary = RunSummary()
    summary.add(VERDICT, None)
    shares = [summary.rescored]
    summary.add(replace(VERDICT, precision="f32", exact=True), None)
    shares.append(summary.rescored)
    assert shares == [None, 0.5]
    assert "against_labels" not in summary.to_json()
