"""Rescales channels between convolutions to fit into 8 bits, without changing what the network computes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from engines.image import Image
from engines.resnet import Backbone

_BATCH = 8
_FLOOR = 1e-3
# A channel that is quiet on good parts may be loud on a defect: below this share of the loudest, all count as one.
_PEAK_FLOOR = 0.05
# Rounded values are what moves scores most, since weights are rounded on good parts: they get the larger share.
_PEAK_SHARE = 0.65


@dataclass(frozen=True)
class Equalised:
    """A backbone with rescaled channels.

    Attributes:
        backbone: the rescaled backbone.
        unit2: what each channel of its layer2 is to be multiplied with to have its original scale, `[C]`.
        unit3: the same for its layer3, `[2 * C]`.
    """

    backbone: Backbone
    unit2: Tensor
    unit3: Tensor


@torch.no_grad()
def equalise(backbone: Backbone, frames: Sequence[Image]) -> Equalised:
    """Rescales the channels within every block of a backbone, and those that its blocks pass on.

    A tensor is quantised with one step for all its channels, so small channels drown beside large ones. A channel can
    be divided before a ReLU and multiplied after it (Nagel et al. 2019). The factor is the channel's largest value over
    the largest weight that takes it, each to a power of its own (Xiao et al. 2023). All blocks of a layer share one
    factor for what they pass on, because they add to it; the stem shares it where the first block adds to that, else it
    has its own.

    Args:
        backbone: the backbone, which is not changed.
        frames: frames of good parts, uint8 `[H, W, 3]` each, at the network's size.
    """
    own = copy.deepcopy(backbone)
    peaks = _peaks(own, frames)
    layers = own.blocks()
    units = []
    entry = layers[0][0]
    if entry.downsample is not None:
        _rescale([own.conv1], [entry.path()[0], entry.downsample], peaks[own.conv1])
    for index, blocks in enumerate(layers):
        takers = [block.path()[0] for block in blocks[1:]]
        if index + 1 < len(layers):
            following = layers[index + 1][0]
            takers += [conv for conv in (following.path()[0], following.downsample) if conv is not None]
        makers = [conv for block in blocks for conv in (block.path()[-1], block.downsample) if conv is not None]
        if blocks[0].downsample is None:
            # It adds to what the stem gives, which then has the same unit.
            makers.append(own.conv1)
            takers.append(blocks[0].path()[0])
        units.append(_rescale(makers, takers, torch.stack([peaks[block] for block in blocks]).amax(0)))
        for block in blocks:
            for maker, taker in pairwise(block.path()):
                _rescale([maker], [taker], peaks[maker])
    return Equalised(own.eval(), units[1], units[2])


def _peaks(backbone: Backbone, frames: Sequence[Image]) -> dict[nn.Module, Tensor]:
    """Measures the largest value of every channel after the stem's ReLU, those within a block, and at its end."""
    peaks: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, _inputs: object, output: Tensor) -> None:
        highest = torch.relu(output).amax((0, 2, 3))
        peaks[module] = torch.maximum(peaks[module], highest) if module in peaks else highest

    blocks = [block for layer in backbone.blocks() for block in layer]
    watched: list[nn.Module] = [backbone.conv1, *(module for block in blocks for module in (block, *block.path()[:-1]))]
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
    loud = peak.clamp_min(_PEAK_FLOOR * float(peak.max()))
    factor = loud**_PEAK_SHARE / weight.clamp_min(_FLOOR * float(weight.max())) ** (1 - _PEAK_SHARE)
    factor /= factor.median()
    for conv in makers:
        assert conv.bias is not None
        conv.weight /= factor[:, None, None, None]
        conv.bias /= factor
    for conv in takers:
        conv.weight *= factor[None, :, None, None]
    return factor
