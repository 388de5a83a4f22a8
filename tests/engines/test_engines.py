"""Every engine gives the same scores, checks what it is given, and closes cleanly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from calibration.dataset import open_test_split, read_frames
from engines.bundle import Bundle, open_bundle
from engines.engine import Frames
from engines.errors import ConfigError, EngineError
from engines.registry import ENGINES, engine_class, open_engine
from pipeline.metrics import auroc


@pytest.fixture(scope="module")
def frames(drawn: Path) -> Frames:
    return np.stack(list(read_frames(open_test_split(drawn), (224, 224))))


@pytest.mark.parametrize("name", list(ENGINES))
def test_scores_do_not_depend_on_the_batch_nor_on_threads(bundle: Bundle, frames: Frames, name: str) -> None:
    with open_engine(bundle, name, "f32", max_batch=16) as engine:
        whole = engine.infer(frames[:16])
        assert whole.score.shape == (16,)
        assert whole.score.dtype == np.float32
        assert whole.heatmap.shape == (16, *bundle.manifest.heatmap.grid)
        single = [engine.infer(frames[index : index + 1]) for index in range(16)]
        np.testing.assert_allclose(np.concatenate([one.score for one in single]), whole.score, atol=1e-3)
        np.testing.assert_allclose(np.concatenate([one.heatmap for one in single]), whole.heatmap, atol=5e-3)
        with ThreadPoolExecutor(2) as pool:
            halves = list(pool.map(engine.infer, [frames[:8], frames[8:16]] * 4))
        for index in range(0, 8, 2):
            both = np.concatenate([halves[index].score, halves[index + 1].score])
            np.testing.assert_allclose(both, whole.score, atol=1e-3)


def test_results_come_in_the_order_of_submission(bundle: Bundle, frames: Frames) -> None:
    with open_engine(bundle, "openvino", "f32", max_batch=4) as engine:
        expected = engine.infer(frames[:4]).score
        futures = [engine.submit(frames[index : index + 1]) for index in (0, 1, 2, 3) * 5]
        found = [float(future.result().score[0]) for future in futures]
    np.testing.assert_allclose(found, np.tile(expected, 5), atol=1e-3)


@pytest.mark.parametrize("name", list(ENGINES))
def test_wrong_input_is_refused_in_words(bundle: Bundle, frames: Frames, name: str) -> None:
    with open_engine(bundle, name, max_batch=2) as engine:
        for wrong in (frames[:3], frames[:0], frames[:1, :100], frames[:1].astype(np.float32), frames[0]):
            with pytest.raises(EngineError, match=name):
                engine.submit(wrong)  # type: ignore[arg-type]
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.infer(frames[:1])


def test_unknown_names_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match="openvino"):
        open_engine(bundle, "opnvino")
    with pytest.raises(ConfigError, match="f32"):
        open_engine(bundle, "openvino", "f8")
    with pytest.raises(ConfigError, match="max_batch"):
        open_engine(bundle, "openvino", max_batch=0)


def test_all_engines_agree_on_every_real_picture(screw: Path, screw_bundle: Path) -> None:
    """The same part gets the same verdict on every engine (float32), and nearly so in bfloat16."""
    bundle = open_bundle(screw_bundle)
    samples = open_test_split(screw)
    pictures = np.stack(list(read_frames(samples, bundle.size)))
    defective = np.array([sample.defective for sample in samples])
    scores = {}
    for name, precision in [("torch", "f32"), *(("openvino", p) for p in engine_class("openvino").precisions())]:
        with open_engine(bundle, name, precision, max_batch=8) as engine:
            batches = [engine.infer(pictures[start : start + 8]).score for start in range(0, len(pictures), 8)]
        scores[f"{name} {precision}"] = np.concatenate(batches).astype(np.float64)
    exact = scores.pop("torch f32")
    threshold = bundle.manifest.threshold.value
    reference = auroc(exact, defective)
    assert reference is not None
    assert reference >= 0.90
    for name, found in scores.items():
        moved = np.abs(found - exact)
        area = auroc(found, defective)
        print(
            f"{name}: moved by {moved.std():.3f} sigma (largest {moved.max():.3f}), AUROC {area:.4f} / {reference:.4f}"
        )
        flipped = (found > threshold) != (exact > threshold)
        band = 0.05 if name.endswith("f32") else 1.0
        assert not (flipped & (np.abs(exact - threshold) > band)).any(), name
        assert area is not None
        assert abs(area - reference) <= 0.005, name
        if name.endswith("f32"):
            assert moved.max() <= 0.05, name
