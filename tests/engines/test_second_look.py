"""The second look: same verdicts as float32, in order, left out where the time does not suffice."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from calibration.dataset import open_test_split, read_frames
from engines.bundle import Bundle, update_manifest
from engines.engine import Frames
from engines.errors import ConfigError
from engines.manifest import Band
from engines.registry import engine_class, open_engine
from engines.second_look import SecondLook


@pytest.fixture(scope="module")
def frames(drawn: Path) -> Frames:
    return np.stack(list(read_frames(open_test_split(drawn), (224, 224))))


def look(bundle: Bundle, band: float, threshold: float) -> SecondLook:
    """OpenVINO in its lowest precision here, looked at again by PyTorch."""
    fast = engine_class("openvino").precisions("cpu")[0]
    measured = Band(
        offset=0.0, width=band, samples=30, std=band / 3, largest=band / 2, share=0.1, measured_with="openvino"
    )
    engines = open_engine(bundle, "openvino", fast, 4), open_engine(bundle, "torch", "f32", 4)
    return SecondLook(*engines, measured, threshold)


def test_only_what_lies_near_the_threshold_is_scored_again(bundle: Bundle, frames: Frames) -> None:
    with open_engine(bundle, "torch", "f32", 4) as reference:
        exact = np.concatenate([reference.infer(frames[start : start + 3]).score for start in range(0, 18, 3)])
    threshold = float(np.sort(exact)[9]) + 0.01
    with look(bundle, 1.0, threshold) as engine:
        futures = [engine.submit(frames[start : start + 3]) for start in range(0, 18, 3)]
        results = [future.result() for future in futures]
        scores = np.concatenate([result.score for result in results])
        rescored = np.concatenate([result.rescored for result in results])
        assert 0 < rescored.sum() < 18
        np.testing.assert_allclose(scores[rescored], exact[rescored], atol=1e-3)
        assert (np.abs(scores[~rescored] - threshold) > 1.0).all()
        assert np.concatenate([result.exact for result in results]).all()
        np.testing.assert_array_equal(scores > threshold, exact > threshold)
        with ThreadPoolExecutor(2) as pool:
            again = list(pool.map(engine.infer, [frames[:4], frames[4:8]] * 3))
        np.testing.assert_array_equal(again[0].score, again[2].score)
        engine.set_threshold(1e9)
        assert not engine.infer(frames[:4]).rescored.any()


def test_a_deadline_forbids_it_and_the_scores_say_so(bundle: Bundle, frames: Frames) -> None:
    with look(bundle, 1e6, 2.0) as engine:
        late = engine.submit(frames[:3], until=time.monotonic_ns()).result()
        assert not late.exact.any()
        assert not late.rescored.any()
        early = engine.submit(frames[:3], until=time.monotonic_ns() + 3_600_000_000_000).result()
        assert early.exact.all()
        assert early.rescored.all()


def test_auto_unmeasured_is_the_fast_precision_with_the_bundles_band(bundle: Bundle, frames: Frames) -> None:
    offered = engine_class("openvino").precisions("cpu")
    with open_engine(bundle, "openvino", "auto", 4, measure=False) as engine:
        assert engine.precision == offered[0]
        assert engine.infer(frames[:4]).exact.all()
        if len(offered) > 1:
            assert isinstance(engine, SecondLook)
            assert engine.band == bundle.manifest.bands[offered[0]]
            assert engine.threshold == bundle.manifest.threshold.value
    with open_engine(bundle, "onnxruntime", "auto", 4) as engine:
        assert engine.precision == "f32"
        assert not isinstance(engine, SecondLook)


def test_a_bundle_without_a_band_is_run_in_float32(bundle: Bundle, tmp_path: Path) -> None:
    import shutil

    from engines.bundle import open_bundle

    bare = update_manifest(open_bundle(Path(shutil.copytree(bundle.path, tmp_path / "bare"))), {"bands": {}})
    with open_engine(bare, "openvino", "auto", 1) as engine:
        assert engine.precision == "f32"
    offered = engine_class("openvino").precisions("cpu")
    if len(offered) > 1:
        with pytest.raises(ConfigError, match="has no band"):
            open_engine(bare, "openvino", f"{offered[0]}+f32", 1)
