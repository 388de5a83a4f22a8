"""The backbone's convolutions in 8 bits: their weights on good parts, block after block, the rest by NNCF."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from calibration.batch import USUAL_PIXELS, at_once
from calibration.progress import Reporter
from calibration.rounded_weights import round_in_turn
from engines.image import Image
from engines.resnet import Backbone, Block

# Larger frames show as much with fewer of them.
_FRAMES = 48


@torch.no_grad()
def round_backbone(backbone: Backbone, frames: Sequence[Image], report: Reporter) -> None:
    """Rounds the weights of a backbone's convolutions to 8 bits, but for the stem's and the first block's.

    Args:
        backbone: changed in place.
        frames: of good parts, uint8 `[H, W, 3]` each.
        report: told how far it is.
    """
    height, width, _ = frames[0].shape
    shown = min(len(frames), max(1, _FRAMES * USUAL_PIXELS // (height * width)))
    picks = np.linspace(0, len(frames) - 1, shown).round().astype(np.int64)
    step = at_once((height, width))
    stack = [np.stack([frames[index] for index in picks[at : at + step]]) for at in range(0, shown, step)]
    first, *others = (block for layer in backbone.blocks() for block in layer)
    taken = [first(backbone.stem(torch.from_numpy(chunk))) for chunk in stack]
    for done, block in enumerate(others):
        report("weights", done, len(others))
        layers = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
        round_in_turn(layers, partial(_run, block, taken))
        taken = _run(block, taken)
    report("weights", len(others), len(others))


def _run(block: Block, taken: Sequence[Tensor]) -> list[Tensor]:
    return [block(chunk) for chunk in taken]


def quantise_backbone(nncf: Any, model: Any, backbone: Backbone, frames: Sequence[Image]) -> Any:
    """Returns a backbone's OpenVINO model with most of its convolutions in 8 bits.

    Args:
        nncf: the library.
        model: the backbone, with equalised channels.
        backbone: the same, in PyTorch.
        frames: of good parts, uint8 `[H, W, 3]` each, which show the ranges.
    """
    # Measured: the first convolution and the first block are cheap, and half of the loss lies in them.
    convolutions = [op for op in model.get_ordered_ops() if op.get_type_name() == "Convolution"]
    kept = 1 + sum(isinstance(module, nn.Conv2d) for module in backbone.layer1[0].modules())
    first = [op.get_friendly_name() for op in convolutions[:kept]]
    if backbone.visible is not None:
        # Pixels times the mask, before the first convolution.
        first.append(next(op for op in model.get_ordered_ops() if op.get_type_name() == "Multiply").get_friendly_name())
    ranges = nncf.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    with _quiet("nncf"):
        quantised = nncf.quantize(
            model,
            nncf.Dataset([frame[None] for frame in frames]),
            subset_size=len(frames),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=True,
            # The head takes the features as the last blocks compute them; only the next layer takes them in 8 bits.
            ignored_scope=nncf.IgnoredScope(names=first, types=["AvgPool"]),
            # What is rare on good parts is what defects look like: nothing is clipped. Nor is anything rounded to 7
            # bits, as the tool does by default with the weights of the first layers: that doubled the noise.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges, overflow_fix=nncf.OverflowFix.DISABLE
            ),
        )
    _add_unrounded(quantised)
    return quantised


def _add_unrounded(model: Any) -> None:
    """Takes away the rounding of what a block's last convolutions give before it is added up.

    NNCF rounds both sides of an addition. OpenVINO adds within the convolution, before it rounds the sum, so that it is
    no slower without; measured on held-out parts, a third of the variance of int8's scores came from there.
    """
    for rounding in model.get_ordered_ops():
        if rounding.get_type_name() == "FakeQuantize":
            takers = list(rounding.output(0).get_target_inputs())
            source = rounding.input_value(0)
            between = source.get_node().get_type_name() == "Add"
            if between and [taker.get_node().get_type_name() for taker in takers] == ["Add"]:
                takers[0].replace_source_output(source)
    model.validate_nodes_and_infer_types()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
