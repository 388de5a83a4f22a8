"""Rescales channels between convolutions so that 8 bits hold them all: the same function, in other units."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from engines.image import Image
from engines.network import Backbone, Bottleneck

_BATCH = 8
_FLOOR = 1e-3


@torch.no_grad()
def equalise(backbone: Backbone, frames: Sequence[Image]) -> Backbone:
    """Rescales the channels within every block of a backbone.

    A tensor is quantised with one step for all its channels, so that small channels drown beside large ones. A ReLU
    lets a channel be divided before it and multiplied behind it (Nagel et al. 2019); the factor is the root of the
    channel's largest value over that of the weights that take it (Xiao et al. 2023).

    Args:
        backbone: it is not changed.
        frames: frames of good parts, uint8 `[H, W, 3]` each, at the network's size.
    """
    own = copy.deepcopy(backbone)
    peaks = _peaks(own, frames)
    for block in own.modules():
        if isinstance(block, Bottleneck):
            _rescale(block.conv1, block.conv2, peaks[block.conv1])
            _rescale(block.conv2, block.conv3, peaks[block.conv2])
    return own.eval()


def _peaks(backbone: Backbone, frames: Sequence[Image]) -> dict[nn.Module, Tensor]:
    """Measures the largest value of every channel behind the ReLUs within a block."""
    peaks: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, _inputs: object, output: Tensor) -> None:
        highest = torch.relu(output).amax((0, 2, 3))
        peaks[module] = torch.maximum(peaks[module], highest) if module in peaks else highest

    blocks = [module for module in backbone.modules() if isinstance(module, Bottleneck)]
    handles = [conv.register_forward_hook(note) for block in blocks for conv in (block.conv1, block.conv2)]
    for start in range(0, len(frames), _BATCH):
        backbone(torch.from_numpy(np.stack(frames[start : start + _BATCH])))
    for handle in handles:
        handle.remove()
    return peaks


def _rescale(producer: nn.Conv2d, consumer: nn.Conv2d, peak: Tensor) -> None:
    """Divides channels where they are made and multiplies them where they are taken."""
    weight = consumer.weight.abs().amax((0, 2, 3))
    factor = torch.sqrt(peak.clamp_min(_FLOOR * float(peak.max())) / weight.clamp_min(_FLOOR * float(weight.max())))
    factor /= factor.median()
    assert producer.bias is not None
    producer.weight /= factor[:, None, None, None]
    producer.bias /= factor
    consumer.weight *= factor[None, :, None, None]
