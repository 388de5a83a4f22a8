"""The head's convolutions in 8 bits: their ranges, measured on good parts, and their weights, channel by channel."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from calibration.equalise import Equalised
from calibration.features import FeatureCache
from calibration.rounded_weights import WEIGHT_STEPS, round_in_turn
from engines.network import InspectionNetwork

# Those of the autoencoder. The context is small, and what it says goes into the score as it is.
LAYERS = ("enter2", "enter3", "code", "exit2", "exit3")
_STEPS = 255
_LEAST = 1e-12


@torch.no_grad()
def head_in_units(network: InspectionNetwork, backbone: Equalised) -> InspectionNetwork:
    """Returns a copy of a network with an equalised backbone, whose head takes features as that gives them.

    So nothing is left to multiply behind the backbone.

    Args:
        network: the network, which is not changed.
        backbone: its backbone, equalised.
    """
    own = copy.deepcopy(network)
    own.backbone = copy.deepcopy(backbone.backbone)
    head = own.autoencoder
    for enter, leave, error, unit in (
        (head.enter2, head.exit2, own.error2, backbone.unit2),
        (head.enter3, head.exit3, own.error3, backbone.unit3),
    ):
        enter.weight *= unit[None, :, None, None]
        # Of layer2 it gives four places for each cell, one after the other.
        given = unit.repeat(len(leave.weight) // len(unit))
        leave.weight /= given[:, None, None, None]
        assert leave.bias is not None
        leave.bias /= given
        error.mean /= unit[None, :, None, None]
        error.weight *= unit[None, :, None, None] ** 2
    return own


@torch.no_grad()
def measure_peaks(network: InspectionNetwork, cache: FeatureCache, images: npt.NDArray[np.int64]) -> dict[str, float]:
    """Measures the largest value that each layer takes in on good parts. None takes in anything below 0."""
    peaks = dict.fromkeys(LAYERS, _LEAST)

    def note(name: str, taken: Tensor) -> Tensor:
        peaks[name] = max(peaks[name], float(taken.max()))
        return taken

    with _seeing(network, note):
        for layer2, layer3 in cache.maps(images):
            network.autoencoder(layer2, layer3)
    return peaks


@contextmanager
def rounding(network: InspectionNetwork, peaks: Mapping[str, float]) -> Iterator[None]:
    """Lets a network's head compute as it does in 8 bits during the block.

    Args:
        network: rounded weights must be in it already.
        peaks: the largest value that each layer takes in.
    """

    def rounded(name: str, taken: Tensor) -> Tensor:
        step = peaks[name] / _STEPS
        return (taken / step).round().clamp(0, _STEPS) * step

    with _seeing(network, rounded):
        yield


def round_head(network: InspectionNetwork, cache: FeatureCache, images: npt.NDArray[np.int64]) -> None:
    """Rounds the weights of a network's head to 8 bits, with a step for each channel that a layer gives.

    Args:
        network: changed in place.
        cache: features of good parts.
        images: which of them to round on.
    """
    head = network.autoencoder

    def run() -> None:
        for layer2, layer3 in cache.maps(images):
            head(layer2, layer3)

    layers = [head.get_submodule(name) for name in LAYERS]
    round_in_turn([layer for layer in layers if isinstance(layer, nn.Conv2d)], run)


def mark_8_bits(openvino: Any, model: Any, peaks: Mapping[str, float]) -> None:
    """Tells OpenVINO which convolutions of an exported head compute in 8 bits.

    Args:
        openvino: the library.
        model: the head with rounded weights; changed in place.
        peaks: the largest value that each layer takes in.
    """
    ops = openvino.opset13
    rounded: dict[tuple[str, float], Any] = {}
    layers = {f"autoencoder.{name}.weight": peak for name, peak in peaks.items()}
    for operation in model.get_ordered_ops():
        if operation.get_type_name() != "Convolution":
            continue
        weights = operation.input_value(1).get_node()
        peak = layers.pop(weights.get_friendly_name(), None)
        if peak is None:
            continue
        source = operation.input_value(0)
        # Layers that take in the same take it in rounded once.
        key = source.get_node().get_friendly_name(), peak
        if key not in rounded:
            low, high = (ops.constant(np.full((1, 1, 1, 1), limit, np.float32)) for limit in (0.0, peak))
            rounded[key] = ops.fake_quantize(source, low, high, low, high, _STEPS + 1).output(0)
        values = weights.get_data()
        step = np.abs(values).max((1, 2, 3), keepdims=True).clip(_LEAST) / np.float32(WEIGHT_STEPS)
        small = ops.convert(ops.constant(np.rint(values / step).astype(np.int8)), "f32")
        operation.input(0).replace_source_output(rounded[key])
        operation.input(1).replace_source_output(ops.multiply(small, ops.constant(step)).output(0))
    assert not layers, f"the exported head has no {', '.join(layers)}"
    model.validate_nodes_and_infer_types()


@contextmanager
def _seeing(network: InspectionNetwork, see: Any) -> Iterator[None]:
    """Replaces what each layer takes in by what `see` makes of it, during the block."""

    def hook(name: str) -> Any:
        return lambda _module, inputs: (see(name, inputs[0]),)

    handles = [
        module.register_forward_pre_hook(hook(name))
        for name, module in network.autoencoder.named_children()
        if name in LAYERS and isinstance(module, nn.Conv2d)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
