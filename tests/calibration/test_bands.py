"""The bands for the second look: as wide as what was measured asks for, for every precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.bands import EMULATED, band
from calibration.dataset import open_test_split, read_frames
from engines.bundle import Bundle
from engines.engine import EXACT
from engines.registry import engine_class, open_engine


def test_the_band_holds_the_differences_with_room_to_spare() -> None:
    rng = np.random.default_rng(0)
    exact = rng.standard_normal(60)
    found = band(exact, exact + rng.normal(0, 0.1, 60), 2.0, "test")
    later = rng.normal(0, 0.1, 20_000)
    assert np.mean(np.abs(later) > found.width) < 0.003
    assert found.width < 0.6
    assert found.largest <= found.width
    assert found.share < 0.15
    assert band(exact, exact, 2.0, "test").width > 0
    # An engine's own shift is taken off; an emulated one may be another's, and widens the band.
    shifted = band(exact, exact + 0.3, 2.0, "test")
    assert shifted.offset == pytest.approx(0.3)
    assert shifted.width < 0.1
    emulated = band(exact, exact + 0.3, 2.0, EMULATED)
    assert emulated.offset == 0
    assert emulated.width >= 0.3


def test_a_bundle_knows_the_band_of_every_precision(bundle: Bundle, drawn: Path) -> None:
    bands = bundle.manifest.bands
    assert {"bf16", "f16"} <= set(bands)
    assert bands["f16"].std < bands["bf16"].std
    offered = engine_class("openvino").precisions("cpu")
    assert bands["bf16"].measured_with == ("openvino" if "bf16" in offered else EMULATED)
    assert bands["f16"].measured_with != "openvino"
    if "bf16" not in offered:
        pytest.skip("this processor does not compute in bfloat16")
    frames = np.stack(list(read_frames(open_test_split(drawn)[:8], bundle.size)))
    scores = []
    for precision in (EXACT, "bf16"):
        with open_engine(bundle, "openvino", precision, 8) as engine:
            scores.append(engine.infer(frames).score)
    near = np.abs(scores[0] - bundle.manifest.threshold.value) < 3
    assert (np.abs(scores[1] - scores[0])[near] <= bands["bf16"].width).all()
