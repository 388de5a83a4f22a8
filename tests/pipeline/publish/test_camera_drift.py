"""What verdicts say of a camera's parts: that good ones score otherwise than they did, or that most are rejected."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import open_bundle
from pipeline.protocol.event import Event
from pipeline.publish.camera_drift import CameraDrift
from tests.pipeline.parts import decide


def test_scores_of_ok_parts_are_watched_against_those_of_calibration(bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    known, threshold = np.array(bundle.manifest.statistics.scores), bundle.manifest.threshold.value
    camera = CameraDrift("line", "top", bundle, 10_000)

    def judge(score: float, sequence: int, limit: float = threshold) -> list[Event]:
        plain = decide("top", sequence).verdict
        return camera.judge(dataclasses.replace(plain, score=score, threshold=limit))

    accepted = known[known <= threshold]
    usual = np.resize(accepted, 1200)
    assert [event for number in range(1000) for event in judge(float(usual[number]), number)] == []
    events = [event for number in range(1000, 1200) for event in judge(float(usual[number]) + 1.3, number)]
    assert (events[0].kind, events[0].quantity, events[0].unit) == ("moved", "score", "sigma")
    assert abs(events[0].since_sequence - 1000) <= 15
    (found,) = camera.status()["moved"]
    assert found["words"] == f"good parts score {found['amount']:.1f} sigma higher"
    assert found["amount"] == pytest.approx(1.3 + np.median(usual[-25:]) - accepted.mean(), abs=0.01)
    # With another threshold, ok parts score otherwise: the test begins anew.
    assert judge(0.0, 1200, threshold + 1) == []
    assert camera.status()["moved"] == []


def test_it_tells_when_most_parts_are_rejected(bundle_path: Path) -> None:
    bundle, rng = open_bundle(bundle_path), np.random.default_rng(0)
    camera, number = CameraDrift("line", "top", bundle, 100_000), 0

    def judge(share: float, count: int) -> list[Event]:
        nonlocal number
        found = []
        for rejected in rng.random(count) < share:
            plain = decide("top", number, "ng" if rejected else "ok").verdict
            found += [event for event in camera.judge(plain) if event.quantity == "rejection"]
            number += 1
        return found

    assert judge(0.2, 100_000) == []
    (event,) = judge(1.0, 30)
    assert (event.kind, event.words) == ("moved", "100 % of the parts are rejected") and event.remedy
    assert event.amount == pytest.approx(100) and event.sequence - event.since_sequence < 30
    assert [event.kind for event in judge(0.05, 200)] == ["returned"]
    (event,) = judge(0.6, 200)
    assert event.kind == "moved" and 40 <= event.amount <= 80
