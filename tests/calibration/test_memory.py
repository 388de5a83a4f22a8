"""A calibration's memory does not grow with the size of the frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calibration import context
from calibration.batch import at_once
from calibration.context import collect_cells
from calibration.features import FeatureCache
from engines.network import InspectionNetwork, NetworkConfig


def test_of_larger_frames_fewer_are_computed_at_once() -> None:
    assert [at_once(size) for size in ((64, 64), (224, 224), (448, 448), (1232, 496), (2048, 2048))] == [8, 8, 2, 1, 1]
    assert at_once((448, 448), 16) == 4
    cells = np.zeros((20, 28 * 28, 6), np.float16)
    cache = FeatureCache(cells, (28, 28))
    assert [len(layer3) for _, layer3 in cache.maps(np.arange(10))] == [4, 4, 2]


def test_of_many_cells_a_context_learns_from_some_of_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = InspectionNetwork(NetworkConfig(size=(64, 96), arch="resnet18", hidden=8, code=8)).eval()
    kept = np.array([0, 3, 4, 7, 11, 12, 17, 23])
    cells = np.random.default_rng(0).normal(size=(3, 24, 6 * 128)).astype(np.float16)
    cache = FeatureCache(cells, (4, 6), kept)
    with torch.no_grad():
        whole = collect_cells(network, cache, np.arange(3))
        monkeypatch.setattr(context, "MOST_CELLS", 15)
        some = collect_cells(network, cache, np.arange(3))
    assert whole.places.tolist() == [*kept, *kept, *kept]
    assert some.hidden.shape == (15, 8)
    for index, place in enumerate(some.places.tolist()):
        own = index // 5 * len(kept) + kept.tolist().index(place)
        torch.testing.assert_close(some.errors[index], whole.errors[own])
        torch.testing.assert_close(some.hidden[index], whole.hidden[own])
    assert len({tuple(image) for image in some.places.reshape(3, 5).tolist()}) == 3
