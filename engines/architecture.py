"""The backbones that a network can have: ResNets up to layer3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Arch = Literal["resnet18", "resnet50", "wide_resnet50_2"]


@dataclass(frozen=True)
class Architecture:
    """The shape of a backbone, and how wide the rest of the network is beside it.

    Attributes:
        title: its name in sentences.
        blocks: blocks of layer1, layer2 and layer3.
        bottleneck: whether blocks are bottlenecks of three convolutions, or have two of 3 x 3.
        base_width: width of layer1's 3 x 3 convolutions.
        hidden: default width of the autoencoder's hidden layers and of its code.
        context_width: default width of the context.
    """

    title: str
    blocks: tuple[int, int, int]
    bottleneck: bool
    base_width: int
    hidden: int
    context_width: int

    @property
    def outputs(self) -> tuple[int, int, int]:
        """Channels of layer1, layer2 and layer3."""
        first = 256 if self.bottleneck else 64
        return first, 2 * first, 4 * first


ARCHITECTURES: dict[Arch, Architecture] = {
    "resnet18": Architecture("ResNet-18", (2, 2, 2), False, 64, 256, 128),
    "resnet50": Architecture("ResNet-50", (3, 4, 6), True, 64, 512, 256),
    "wide_resnet50_2": Architecture("Wide ResNet-50-2", (3, 4, 6), True, 128, 512, 256),
}
