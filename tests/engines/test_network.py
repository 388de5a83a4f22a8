"""The network's parts compute what their definitions say."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from engines.bundle import MODEL_F16, MODEL_F32, Bundle
from engines.maps import double, gather, spread
from engines.network import InspectionNetwork, NetworkConfig


def test_doubling_is_bilinear_interpolation() -> None:
    values = torch.rand(2, 7, 5)
    expected = functional.interpolate(values[:, None], scale_factor=2, mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(double(double(values, 1), 2), expected)


def test_spreading_behind_a_1x1_convolution_is_a_transposed_convolution() -> None:
    whole = torch.nn.ConvTranspose2d(5, 3, 2, stride=2)
    places = torch.nn.Conv2d(5, 12, 1)
    with torch.no_grad():
        places.weight.copy_(whole.weight.permute(2, 3, 1, 0).reshape(12, 5, 1, 1))
        assert places.bias is not None and whole.bias is not None
        places.bias.copy_(whole.bias.repeat(4))
        cells = torch.rand(2, 5, 4, 6)
        torch.testing.assert_close(spread(places(cells)), whole(cells))


def test_gathering_undoes_spreading() -> None:
    cells = torch.rand(2, 4, 3, 5)
    torch.testing.assert_close(gather(spread(cells)[:, 0]), cells)


def test_the_score_is_the_mean_of_the_highest_cells_within_the_ring() -> None:
    network = InspectionNetwork(NetworkConfig(ring=1, top_share=0.01))
    cells = torch.zeros(1, 28, 28)
    cells[0, 0, :] = 100.0
    cells[0, 5, 5:11] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert network.raw_score(cells).tolist() == [21.0 / 6]


def test_the_head_costs_at_most_a_quarter_of_the_backbone(capsys: pytest.CaptureFixture[str]) -> None:
    costs = {}
    frames = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)
    config = NetworkConfig()
    layer2, layer3 = torch.zeros(1, 512, 28, 28), torch.zeros(1, 1024, 14, 14)
    network = InspectionNetwork(config)
    for name, module, inputs in (
        ("backbone", network.backbone, (frames,)),
        ("head", network.judge, (layer2, layer3)),
    ):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            module(*inputs)
        costs[name] = counter.get_total_flops() / 2e9
    with capsys.disabled():
        print(f"\nbackbone {costs['backbone']:.2f} GMAC, head {costs['head']:.2f} GMAC")
    assert 0 < costs["head"] <= 0.25 * costs["backbone"]


@pytest.mark.parametrize("name", [MODEL_F32, MODEL_F16])
def test_the_onnx_files_take_frames_and_give_scores_and_heatmaps(bundle: Bundle, name: str) -> None:
    model = onnx.load(bundle.file(name))
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["frames"]
    assert [value.name for value in model.graph.output] == ["score", "heatmap"]
    frames = model.graph.input[0].type.tensor_type
    assert frames.elem_type == onnx.TensorProto.UINT8
    assert frames.shape.dim[0].dim_param
    assert [dim.dim_value for dim in frames.shape.dim[1:]] == [224, 224, 3]
    assert all(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for value in model.graph.output)
    weights = {initializer.data_type for initializer in model.graph.initializer if np.prod(initializer.dims) > 1e5}
    assert weights == {onnx.TensorProto.FLOAT16 if name == MODEL_F16 else onnx.TensorProto.FLOAT}
