"""The 8-bit model: made, held against float32, run by the engine, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.backbone import load_backbone
from calibration.dataset import open_test_split, read_frames
from calibration.equalise import _peaks, equalise
from calibration.metrics import auroc
from calibration.quantise import judge_drift
from engines.bundle import MODEL_INT8, Bundle, open_bundle
from engines.errors import ConfigError
from engines.openvino import open_core
from engines.registry import open_engine
from engines.resnet import Backbone


def test_drift_beyond_the_tolerance_is_refused_with_its_reason() -> None:
    exact = np.linspace(-2, 2.4, 40)
    assert judge_drift(exact, exact + 0.1, 3.0, "f32").accepted
    moved = judge_drift(exact, exact + 0.7, 9.0, "f32")
    assert not moved.accepted
    assert moved.reason is not None
    assert "0.70 sigma" in moved.reason
    flipped = judge_drift(exact, exact + 0.45, 2.0, "f32")
    assert not flipped.accepted
    assert flipped.reason is not None
    assert "verdicts flip" in flipped.reason
    assert judge_drift(exact, exact, 3.0, "f32", (0.95, 0.945)).accepted
    blunted = judge_drift(exact, exact, 3.0, "f32", (0.95, 0.93))
    assert not blunted.accepted
    assert blunted.reason is not None
    assert "AUROC falls from 0.950 to 0.930" in blunted.reason


def test_an_equalised_backbone_is_the_same_function(drawn: Path) -> None:
    frames = list(read_frames(open_test_split(drawn)[:6], (224, 224)))
    backbone = load_backbone("untrained", 0, frames).network
    own = equalise(backbone, frames)
    batch = torch.from_numpy(np.stack(frames))
    with torch.inference_mode():
        units = own.unit2[:, None, None], own.unit3[:, None, None]
        for found, unit, expected in zip(own.backbone(batch), units, backbone(batch), strict=True):
            torch.testing.assert_close(found * unit, expected, rtol=1e-3, atol=1e-3)

    @torch.no_grad()
    def uneven(part: Backbone, name: str) -> float:
        """How far the largest values of the channels behind a module lie apart, as the deviation of their log."""
        peak = _peaks(part, frames)[part.get_submodule(name)]
        return float(torch.log(peak[peak > 0]).std())

    for name in ("layer2.1.conv1", "layer2.1"):
        assert uneven(own.backbone, name) < 0.8 * uneven(backbone, name), name


def test_the_head_computes_in_8_bits(bundle: Bundle) -> None:
    compiled = open_core().compile_model(str(bundle.file(MODEL_INT8)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    layers = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
    kinds = [str(layer["primitiveType"].value) for layer in layers if layer["layerType"].value == "Convolution"]
    # The stem and the first block are in float32, and the context where there is one.
    assert len(kinds) == 43 + 5
    assert sum(not kind.endswith("I8") for kind in kinds) == 5, kinds


def test_the_engine_runs_the_8_bit_model(drawn: Path, bundle: Bundle, small_bundle_path: Path) -> None:
    verdict = bundle.manifest.int8
    assert verdict is not None
    assert verdict.samples == 6
    assert verdict.auroc is None, "eight good and ten defective parts are too few to hold AUROC to a hundredth"
    assert verdict.accepted == (MODEL_INT8 in bundle.manifest.files)
    assert verdict.accepted, verdict.reason
    assert verdict.rest == "f32", "no other precision is fast on every processor"
    samples = open_test_split(drawn)
    frames = np.stack(list(read_frames(samples, bundle.size)))
    scores = {}
    for precision in ("f32", "int8"):
        with open_engine(bundle, "openvino", precision, max_batch=8) as engine:
            assert engine.precision == precision
            found = [engine.infer(frames[start : start + 8]).score for start in range(0, len(frames), 8)]
            scores[precision] = np.concatenate(found).astype(np.float64)
            np.testing.assert_allclose(engine.infer(frames[3:4]).score, scores[precision][3:4], atol=2e-2)
    assert np.corrcoef(scores["f32"], scores["int8"])[0, 1] > 0.9
    defective = np.array([sample.defective for sample in samples])
    areas = [auroc(score, defective) for score in scores.values()]
    print(areas)
    assert areas[0] is not None
    assert areas[1] is not None
    assert areas[1] > areas[0] - 0.1
    with pytest.raises(ConfigError, match="not int8"):
        open_engine(open_bundle(small_bundle_path), "openvino", "int8")
