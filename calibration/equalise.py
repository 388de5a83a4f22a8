"""Rescales channels between convolutions to fit into 8 bits, without changing what the network computes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from engines.image import Image
from engines.resnet import Backbone

_BATCH = 8
_FLOOR = 1e-3


class EqualisedBackbone(nn.Module):
    """A backbone with rescaled channels inside, whose outputs layer2 and layer3 have their original scale.

    Attributes:
        backbone: the rescaled backbone.
        unit2: the factor for each channel of its layer2, `[1, C, 1, 1]`.
        unit3: the factor for each channel of its layer3, `[1, 2 * C, 1, 1]`.
    """

    unit2: Tensor
    unit3: Tensor

    def __init__(self, backbone: Backbone, unit2: Tensor, unit3: Tensor) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("unit2", unit2.reshape(1, -1, 1, 1))
        self.register_buffer("unit3", unit3.reshape(1, -1, 1, 1))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the features of frames; see `Backbone.forward`."""
        layer2, layer3 = self.backbone(frames)
        return layer2 * self.unit2, layer3 * self.unit3


@torch.no_grad()
def equalise(backbone: Backbone, frames: Sequence[Image]) -> EqualisedBackbone:
    """Rescales the channels within every block of a backbone, and those that its blocks pass on.

    A tensor is quantised with one step for all its channels, so small channels drown beside large ones. A channel can
    be divided before a ReLU and multiplied after it (Nagel et al. 2019). The factor is the square root of the channel's
    largest value over the largest weight that takes it (Xiao et al. 2023). All blocks of a layer share one factor for
    what they pass on, because they add to it.

    Args:
        backbone: the backbone, which is not changed.
        frames: frames of good parts, uint8 `[H, W, 3]` each, at the network's size.
    """
    own = copy.deepcopy(backbone)
    peaks = _peaks(own, frames)
    layers = own.blocks()
    units = []
    for index, blocks in enumerate(layers):
        takers = [block.path()[0] for block in blocks[1:]]
        if index + 1 < len(layers):
            following = layers[index + 1][0]
            takers += [conv for conv in (following.path()[0], following.downsample) if conv is not None]
        makers = [conv for block in blocks for conv in (block.path()[-1], block.downsample) if conv is not None]
        units.append(_rescale(makers, takers, torch.stack([peaks[block] for block in blocks]).amax(0)))
        for block in blocks:
            for maker, taker in pairwise(block.path()):
                _rescale([maker], [taker], peaks[maker])
    return EqualisedBackbone(own, units[1], units[2]).eval()


def _peaks(backbone: Backbone, frames: Sequence[Image]) -> dict[nn.Module, Tensor]:
    """Measures the largest value of every channel after the ReLUs within a block and at its end."""
    peaks: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, _inputs: object, output: Tensor) -> None:
        highest = torch.relu(output).amax((0, 2, 3))
        peaks[module] = torch.maximum(peaks[module], highest) if module in peaks else highest

    blocks = [block for layer in backbone.blocks() for block in layer]
    watched: list[nn.Module] = [module for block in blocks for module in (block, *block.path()[:-1])]
    handles = [module.register_forward_hook(note) for module in watched]
    for start in range(0, len(frames), _BATCH):
        backbone(torch.from_numpy(np.stack(frames[start : start + _BATCH])))
    for handle in handles:
        handle.remove()
    return peaks


def _rescale(makers: Sequence[nn.Conv2d], takers: Sequence[nn.Conv2d], peak: Tensor) -> Tensor:
    """Divides channels where they are produced and multiplies them where they are consumed.

    Returns:
        The divisor of each channel.
    """
    weight = torch.stack([conv.weight.abs().amax((0, 2, 3)) for conv in takers]).amax(0)
    factor = torch.sqrt(peak.clamp_min(_FLOOR * float(peak.max())) / weight.clamp_min(_FLOOR * float(weight.max())))
    factor /= factor.median()
    for conv in makers:
        assert conv.bias is not None
        conv.weight /= factor[:, None, None, None]
        conv.bias /= factor
    for conv in takers:
        conv.weight *= factor[None, :, None, None]
    return factor
