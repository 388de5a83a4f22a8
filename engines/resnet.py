"""ResNets (He et al. 2015) from uint8 frames to the features of layer2 and layer3, batch norms folded in."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.architecture import ARCHITECTURES, Arch

PIXEL_MEAN_BGR = (0.406 * 255, 0.456 * 255, 0.485 * 255)
PIXEL_STD_BGR = (0.225 * 255, 0.224 * 255, 0.229 * 255)


class Bottleneck(nn.Module):
    """A ResNet bottleneck block whose batch norms are folded into its convolutions."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int, stride_in_1x1: bool) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = nn.Conv2d(inputs, width, 1, stride=first)
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=1)
        self.conv3 = nn.Conv2d(width, outputs, 1)
        self.downsample = nn.Conv2d(inputs, outputs, 1, stride=stride) if stride > 1 or inputs != outputs else None

    def path(self) -> tuple[nn.Conv2d, ...]:
        """Returns the convolutions that follow each other, with a ReLU between."""
        return self.conv1, self.conv2, self.conv3

    def forward(self, x: Tensor) -> Tensor:
        """Returns the block's output, `[N, outputs, H / stride, W / stride]`."""
        y = torch.relu(self.conv1(x))
        y = torch.relu(self.conv2(y))
        y = self.conv3(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class BasicBlock(nn.Module):
    """A block of the smaller ResNets, with two convolutions of 3 x 3; batch norms are folded in."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.downsample = nn.Conv2d(inputs, outputs, 1, stride=stride) if stride > 1 or inputs != outputs else None

    def path(self) -> tuple[nn.Conv2d, ...]:
        """Returns the convolutions that follow each other, with a ReLU between."""
        return self.conv1, self.conv2

    def forward(self, x: Tensor) -> Tensor:
        """Returns the block's output, `[N, outputs, H / stride, W / stride]`."""
        y = self.conv2(torch.relu(self.conv1(x)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


Block = Bottleneck | BasicBlock


class Backbone(nn.Module):
    """A ResNet from the pixels to layer2 and layer3, for uint8 frames in OpenCV's BGR order.

    Args:
        arch: which one.
        stride_in_1x1: the strides of layer2.0 and layer3.0 sit in their first 1 x 1 convolution.
        masked: height and width of the frames if parts of them are ignored, else None.

    Attributes:
        visible: 1 where a pixel is inspected and 0 where it is ignored, `[1, 1, H, W]`; None where all are inspected.
    """

    pixel_mean: Tensor
    visible: Tensor | None

    def __init__(
        self, arch: Arch = "resnet50", stride_in_1x1: bool = False, masked: tuple[int, int] | None = None
    ) -> None:
        super().__init__()
        self.arch, self.stride_in_1x1 = arch, stride_in_1x1
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        outputs = ARCHITECTURES[arch].outputs
        self.layer1 = self._layer(0, 64)
        self.layer2 = self._layer(1, outputs[0])
        self.layer3 = self._layer(2, outputs[1])
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN_BGR).reshape(1, 3, 1, 1))
        self.register_buffer("visible", None if masked is None else torch.ones(1, 1, *masked))

    def _layer(self, index: int, inputs: int) -> nn.Sequential:
        shape = ARCHITECTURES[self.arch]
        outputs, stride = shape.outputs[index], 1 if index == 0 else 2

        def block(inputs: int, stride: int) -> Block:
            if shape.bottleneck:
                return Bottleneck(inputs, shape.base_width << index, outputs, stride, self.stride_in_1x1)
            return BasicBlock(inputs, outputs, stride)

        return nn.Sequential(block(inputs, stride), *(block(outputs, 1) for _ in range(shape.blocks[index] - 1)))

    def blocks(self) -> list[list[Block]]:
        """Lists the blocks of layer1, layer2 and layer3."""
        layers = (self.layer1, self.layer2, self.layer3)
        return [[block for block in layer if isinstance(block, Block)] for layer in layers]

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the features of frames.

        Args:
            frames: uint8 `[N, H, W, 3]`, BGR.

        Returns:
            layer2 `[N, C, H / 8, W / 8]` and layer3 `[N, 2 * C, H / 16, W / 16]`, each averaged over 3 x 3 cells.
        """
        x = self.layer1(self.stem(frames))
        layer2 = self.layer2(x)
        layer3 = self.layer3(layer2)
        return smooth_features(layer2), smooth_features(layer3)

    def stem(self, frames: Tensor) -> Tensor:
        """Returns what the first block takes in, `[N, 64, H / 4, W / 4]`."""
        # The cast comes first: TensorRT's parser refuses to transpose uint8.
        x = frames.to(self.pixel_mean.dtype).permute(0, 3, 1, 2) - self.pixel_mean
        if self.visible is not None:
            # Ignored pixels have the mean colour, whatever is there: no feature can tell.
            x = x * self.visible
        pooled: Tensor = self.maxpool(torch.relu(self.conv1(x)))
        return pooled


def smooth_features(features: Tensor) -> Tensor:
    """Averages each cell with its neighbours (3 x 3, what lies outside the map not counted)."""
    return functional.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)
