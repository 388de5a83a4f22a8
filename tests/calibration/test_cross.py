"""Sigma units rest on all good parts, though the network learned from most of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calibration.autoencoder import TrainingSettings
from calibration.cross import cross_fit
from calibration.features import FeatureCache
from calibration.head import fit_head, refit_statistics
from calibration.progress import silent
from engines.network import InspectionNetwork, NetworkConfig

PARTS, CALM = 60, 12
SETTINGS = TrainingSettings(steps=200, batch_size=256)


@pytest.fixture(scope="module")
def cache() -> FeatureCache:
    """Parts that differ in how noisy they are; the first are the calmest."""
    rng = np.random.default_rng(0)
    plain = rng.standard_normal((PARTS, 49, 6)) @ rng.standard_normal((6, 768))
    noise = np.linspace(0.5, 1.5, PARTS)[:, None, None] * rng.standard_normal((PARTS, 49, 768))
    return FeatureCache((plain + noise).astype(np.float16), (7, 7))


def judge(network: InspectionNetwork, cache: FeatureCache, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.concatenate([network.judge(*maps)[0].numpy() for maps in cache.maps(images)])


def test_units_are_those_of_all_parts_where_the_held_out_ones_are_unlike_them(cache: FeatureCache) -> None:
    config = NetworkConfig(size=(112, 112), arch="resnet18", hidden=32, code=16, context_width=8, context=0.0)
    network = InspectionNetwork(config).eval()
    held_out, train = np.arange(CALM), np.arange(CALM, PARTS)
    _, own, heat = fit_head(network, cache, train, held_out, SETTINGS, silent)
    assert own.mean() == pytest.approx(0, abs=1e-3) and own.std(ddof=1) == pytest.approx(1, abs=1e-3)
    scores, heatmaps = cross_fit(network, cache, held_out, (own, heat), SETTINGS, silent)
    assert scores.shape == (PARTS,) and heatmaps.shape == (PARTS, 14, 14)
    assert scores.mean() == pytest.approx(0, abs=1e-6) and scores.std(ddof=1) == pytest.approx(1, abs=1e-6)
    assert np.corrcoef(scores, np.arange(PARTS))[0, 1] > 0.6
    assert scores[held_out].mean() < -0.5, "the calm parts lie below what is usual"
    np.testing.assert_allclose(judge(network, cache, held_out), scores[held_out], atol=1e-4)
    # Other features, such as those of a quantised backbone, must not bring the units of the held-out parts back.
    refit_statistics(network, cache, train, held_out, scores[held_out])
    np.testing.assert_allclose(judge(network, cache, held_out), scores[held_out], atol=1e-4)
