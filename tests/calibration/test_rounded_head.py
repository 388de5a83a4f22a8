"""The head in 8 bits: the same function in other units, and rounded as OpenVINO rounds it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from calibration.equalise import Equalised
from calibration.export import NetworkGraph
from calibration.features import FeatureCache
from calibration.quantise import import_nncf
from calibration.rounded_head import LAYERS, head_in_units, mark_8_bits, measure_peaks, round_head, rounding
from calibration.split_model import cut
from engines.network import InspectionNetwork, NetworkConfig
from engines.openvino import open_core


class Features:
    """Features of two parts in the place of a cache."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.both = (
            torch.rand(2, 512, 8, 8, generator=generator),
            torch.rand(2, 1024, 4, 4, generator=generator).square(),
        )

    def maps(self, _images: npt.NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.both


def network() -> InspectionNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return InspectionNetwork(NetworkConfig(size=(64, 64), hidden=64, code=64, context_width=16)).eval()


@torch.inference_mode()
def test_a_head_in_an_equalised_backbones_units_gives_the_same_scores() -> None:
    plain, features = network(), Features().both
    units = torch.linspace(0.2, 5, 512), torch.linspace(3, 0.5, 1024)
    taken = [given / unit[:, None, None] for given, unit in zip(features, units, strict=True)]
    found = head_in_units(plain, Equalised(plain.backbone, *units)).judge(taken[0], taken[1])
    for own, expected in zip(found, plain.judge(*features), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_the_head_rounds_as_openvino_does() -> None:
    own, features = network(), Features()
    graph = NetworkGraph(own)
    # What changes after the graph was traced is in it as well.
    own.heat_norms.add_(torch.tensor([0.1, 0.2]))
    float32 = own.judge(*features.both)[1].numpy()
    cache = cast(FeatureCache, features)
    round_head(own, cache, np.arange(2))
    peaks = measure_peaks(own, cache, np.arange(2))
    assert set(peaks) == set(LAYERS)
    assert 0.99 < peaks["enter2"] <= 1
    assert peaks["exit2"] == peaks["exit3"]
    with rounding(own, peaks):
        expected = own.judge(*features.both)[1].numpy()
    openvino = import_nncf()[1]
    _, model = cut(openvino, open_core().read_model(graph.model(own)))
    mark_8_bits(openvino, model, peaks)
    compiled = open_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([given.numpy() for given in features.both])["heatmap"]
    moved = np.abs(expected - float32).max()
    assert moved > 0
    np.testing.assert_allclose(found, expected, atol=0.1 * moved)
