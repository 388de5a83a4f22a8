"""The one definition of the network: uint8 frames in, anomaly score and heatmap out.

A ResNet (He et al. 2015) up to layer3, with batch norm already folded into its convolutions, gives two
feature maps; an autoencoder reconstructs them through one code per layer3 cell; where it fails, the
part is anomalous. Everything from the cast of the pixels to the score in sigma units lies in here, so that
every engine computes the same thing. Training happens elsewhere (`calibration.fit`); this module only runs.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engines.architecture import ARCHITECTURES, Arch
from engines.maps import blur, combine, gather, hide, spread
from engines.resnet import Backbone
from engines.tiles import OVERLAP_PX, Tile, cut_tiles

LOG_FLOOR = 1e-6
# Of a layer3 cell: one for each of the four layer2 cells under it, and its own.
ERRORS_PER_CELL = 5
SPREAD_LIMIT = 4.0
_NEVER_HIGHEST = 1e6
# Of layer2 and of layer3.
Maps = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class NetworkConfig:
    """The shape of a network: all that is needed, beside its weights, to build it again.

    Attributes:
        size: height and width of the input in pixels, multiples of 16.
        arch: the backbone's architecture.
        stride_in_1x1: the strides of layer2.0 and layer3.0 sit in their first 1 x 1 convolution (Caffe style).
        hidden: width of the two hidden layers.
        code: width of the code that the autoencoder was trained with.
        context_width: width of the small network that says what error is usual in a context.
        context: share of the context-normalised error in the score; the rest is the relative error.
        layer_weights: what the maps of layer2 and layer3 count in the score map.
        heat_weights: what they count in the heatmap.
        blur: standard deviation of the Gaussian that smooths the maps, in layer2 cells.
        ring: cells at the border that do not count in the score.
        top_share: the score is the mean over this share of the highest cells.
        inspected: cells within the ring that count in the score, of several tiles those of each, if parts of the frame
            are ignored; else None.
        tiles: how many tiles lie below and beside each other; the score is that of the highest tile.
        overlap: pixels that neighbouring tiles share at the least.
    """

    size: tuple[int, int] = (224, 224)
    arch: Arch = "resnet50"
    stride_in_1x1: bool = False
    hidden: int = 512
    code: int = 512
    context_width: int = 256
    context: float = 0.9
    layer_weights: tuple[float, float] = (1.0, 1.0)
    heat_weights: tuple[float, float] = (0.5, 1.0)
    blur: float = 0.7
    ring: int = 1
    top_share: float = 0.08
    inspected: int | tuple[int, ...] | None = None
    tiles: tuple[int, int] = (1, 1)
    overlap: int = OVERLAP_PX

    @classmethod
    def of(cls, arch: Arch, size: tuple[int, int] = (224, 224)) -> NetworkConfig:
        """Returns the default settings for an architecture: a network as wide as suits it."""
        shape = ARCHITECTURES[arch]
        return cls(size, arch, hidden=shape.hidden, code=shape.hidden, context_width=shape.context_width)

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of layer2 and layer3."""
        return ARCHITECTURES[self.arch].outputs[1:]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the heatmap: layer2's cells."""
        return self.size[0] // 8, self.size[1] // 8

    def cut(self) -> list[Tile]:
        """Returns the tiles that the score is made of."""
        return cut_tiles(self.grid, self.tiles, self.overlap, self.ring, self.inspected)

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as plain values for the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> NetworkConfig:
        """Builds the settings from the manifest's values."""
        plain: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}
        return cls(**plain)


class Autoencoder(nn.Module):
    """Reconstructs both feature maps through one code for each layer3 cell.

    The four layer2 vectors under a layer3 cell and its layer3 vector enter together and leave together. Written as
    convolutions, it takes and gives the feature maps as they are: standardisation and batch norm are folded in, and so
    is the code, which nothing but a product leads to and from.
    """

    def __init__(self, hidden: int, channels: tuple[int, int]) -> None:
        super().__init__()
        layer2, layer3 = channels
        self.enter2 = nn.Conv2d(layer2, hidden, 2, stride=2)
        self.enter3 = nn.Conv2d(layer3, hidden, 1, bias=False)
        self.code = nn.Conv2d(hidden, hidden, 1)
        self.exit2 = nn.Conv2d(hidden, 4 * layer2, 1)
        self.exit3 = nn.Conv2d(hidden, layer3, 1)

    def forward(self, layer2: Tensor, layer3: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the last hidden layer `[N, hidden, h, w]` and what it makes of layer2 and layer3."""
        hidden = torch.relu(self.enter2(layer2) + self.enter3(layer3))
        hidden = torch.relu(self.code(hidden))
        return hidden, spread(self.exit2(hidden)), self.exit3(hidden)


class LayerError(nn.Module):
    """How badly one layer was reconstructed, cell by cell.

    Attributes:
        mean: mean of each channel on normals, `[1, C, 1, 1]`.
        weight: what a channel's squared error counts, `[1, C, 1, 1]`; it sums to 1.
    """

    mean: Tensor
    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, channels, 1, 1))
        self.register_buffer("weight", torch.ones(1, channels, 1, 1))

    def forward(self, difference: Tensor) -> Tensor:
        """Weighs squared differences `[N, C, h, w]` and adds them up: float32 `[N, h, w]`."""
        return (difference * difference * self.weight).sum(1)

    def energy(self, features: Tensor) -> Tensor:
        """Returns how far the features themselves lie from their mean, float32 `[N, h, w]`, 1 on average."""
        energy: Tensor = self(features.float() - self.mean)
        return energy


class Context(nn.Module):
    """What error is usual in a context: mean and spread of its logarithm, from the last hidden layer and the place.

    A small network gives both for the five errors of a layer3 cell: those of the four layer2 cells under it, and its
    own.

    Attributes:
        position: what row and column add to the hidden layer, `[width, h, w]`.
        overall: mean and standard deviation of each error's logarithm over all contexts, `[2, 5]`.
        floor: variance that is added to every context's own, `[1]`: what new parts vary more than those known.
    """

    position: Tensor
    overall: Tensor
    floor: Tensor

    def __init__(self, hidden: int, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.enter = nn.Conv2d(hidden, width, 1)
        self.exit = nn.Conv2d(width, 2 * ERRORS_PER_CELL, 1)
        self.register_buffer("position", torch.zeros(width, *grid))
        self.register_buffer("overall", torch.tensor([[0.0], [1.0]]).repeat(1, ERRORS_PER_CELL))
        self.register_buffer("floor", torch.zeros(1))

    def forward(self, hidden: Tensor, error2: Tensor, error3: Tensor) -> tuple[Tensor, Tensor]:
        """Says how far errors lie beyond what is usual there.

        Args:
            hidden: the last hidden layer, `[N, hidden, h, w]`.
            error2: float32 `[N, 2 * h, 2 * w]`.
            error3: float32 `[N, h, w]`.

        Returns:
            The same two maps in standard deviations of what is usual.
        """
        usual = self.exit(torch.relu(self.enter(hidden) + self.position)).float()
        mean, log_variance = usual[:, :ERRORS_PER_CELL], usual[:, ERRORS_PER_CELL:]
        variance = torch.exp(log_variance.clamp(-SPREAD_LIMIT, SPREAD_LIMIT)) + self.floor
        errors = torch.log(torch.cat([gather(error2), error3[:, None]], 1) + LOG_FLOOR)
        errors = (errors - self.overall[0].reshape(1, -1, 1, 1)) / self.overall[1].reshape(1, -1, 1, 1)
        beyond = (errors - mean) / torch.sqrt(variance)
        return spread(beyond[:, :-1])[:, 0], beyond[:, -1]


class InspectionNetwork(nn.Module):
    """The whole graph: uint8 frames `[N, H, W, 3]` in, scores `[N]` and heatmaps `[N, h, w]` in sigma units out.

    Two maps are made of the errors. The score map compares a cell's error with what is usual in its context; the
    heatmap shows the error itself, which outlines a defect better.

    Attributes:
        score_norms: mean and standard deviation on normals of the score maps: `[kind, layer, 2]`, where kind is
            context or relative.
        heat_norms: the same of the heatmap's layers, `[layer, 2]`.
        tile_stats: mean and standard deviation of each tile's own score on held-out normals, `[2, tiles]`; None where
            there is only one tile.
        score_stats: mean and standard deviation of the raw score of normals that were not learned from.
        heat_stats: mean and standard deviation of the raw heatmap's cells of held-out normals.
        keep: 1 where a cell counts and 0 where the frame is ignored, `[h, w]`; None where all count.
    """

    score_norms: Tensor
    heat_norms: Tensor
    tile_stats: Tensor | None
    score_stats: Tensor
    heat_stats: Tensor
    keep: Tensor | None

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid
        masked = config.inspected is not None
        self.backbone = Backbone(config.arch, config.stride_in_1x1, config.size if masked else None)
        self.autoencoder = Autoencoder(config.hidden, config.channels)
        self.error2, self.error3 = map(LayerError, config.channels)
        self.context = Context(config.hidden, config.context_width, (rows // 2, columns // 2))
        self.register_buffer("score_norms", torch.tensor([0.0, 1.0]).repeat(2, 2, 1))
        self.register_buffer("heat_norms", torch.tensor([0.0, 1.0]).repeat(2, 1))
        several = len(config.cut())
        self.register_buffer("tile_stats", torch.tensor([[0.0], [1.0]]).repeat(1, several) if several > 1 else None)
        self.register_buffer("score_stats", torch.tensor([0.0, 1.0]))
        self.register_buffer("heat_stats", torch.tensor([0.0, 1.0]))
        self.register_buffer("keep", torch.ones(rows, columns) if masked else None)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Returns score `[N]` and heatmap `[N, h, w]`, float32, in sigma units."""
        layer2, layer3 = self.backbone(frames)
        return self.judge(layer2, layer3)

    def judge(self, layer2: Tensor, layer3: Tensor) -> tuple[Tensor, Tensor]:
        """Does everything after the backbone; see `forward`."""
        return self.in_units(*self.merge(*self.layer_maps(layer2, layer3)))

    def in_units(self, score_map: Tensor, heat: Tensor) -> tuple[Tensor, Tensor]:
        """Makes score and heatmap in sigma units of what `merge` returns."""
        score = (self.raw_score(score_map) - self.score_stats[0]) / self.score_stats[1]
        return score, hide((heat - self.heat_stats[0]) / self.heat_stats[1], self.keep)

    def merge(self, surprise: Maps | None, relative: Maps | None, heat: Maps) -> tuple[Tensor, Tensor]:
        """Makes score map and heatmap of what `layer_maps` returns: smoothed, not yet in sigma units, `[N, h, w]`."""
        share = self.config.context
        kinds = [(surprise, share, self.score_norms[0]), (relative, 1 - share, self.score_norms[1])]
        weights = self.config.layer_weights
        score_map = sum(part * combine(maps, norms, weights) for maps, part, norms in kinds if maps is not None)
        assert isinstance(score_map, Tensor)
        heat_map = combine(heat, self.heat_norms, self.config.heat_weights)
        return blur(hide(score_map, self.keep), self.config.blur), blur(hide(heat_map, self.keep), self.config.blur)

    def layer_maps(self, layer2: Tensor, layer3: Tensor) -> tuple[Maps | None, Maps | None, Maps]:
        """Returns, each for layer2 and layer3: surprise, relative error (None where unused) and error."""
        hidden, guess2, guess3 = self.autoencoder(layer2, layer3)
        # Errors are small differences of large numbers: from here on all is float32.
        error2 = self.error2(guess2.float() - layer2.float())
        error3 = self.error3(guess3.float() - layer3.float())
        heat = error2, error3
        surprise = relative = None
        if self.config.context > 0:
            surprise = self.context(hidden, error2, error3)
        if self.config.context < 1:
            relative = heat[0] / (self.error2.energy(layer2) + 1), heat[1] / (self.error3.energy(layer3) + 1)
        return surprise, relative, heat

    def raw_score(self, score_map: Tensor) -> Tensor:
        """Returns the mean of the highest cells, float32 `[N]`; of several tiles, the highest in units of its place."""
        scores = self.tile_scores(score_map)
        if self.tile_stats is None:
            return scores[:, 0]
        return ((scores - self.tile_stats[0]) / self.tile_stats[1]).amax(1)

    def tile_scores(self, score_map: Tensor) -> Tensor:
        """Returns the mean of each tile's highest cells, float32 `[N, tiles]`."""
        if self.keep is not None:
            # There are more cells that count than the score takes, and all of them are higher.
            score_map = score_map - (1 - self.keep) * _NEVER_HIGHEST
        scores = []
        for tile in self.config.cut():
            cells = score_map[:, tile.top : tile.bottom, tile.left : tile.right].flatten(1)
            count = max(1, int(self.config.top_share * tile.counted))
            scores.append(torch.topk(cells, count, dim=1).values.mean(1))
        return torch.stack(scores, 1)


def lower_precision(network: InspectionNetwork, kind: torch.dtype) -> InspectionNetwork:
    """Returns a copy that computes features and reconstruction in float16 or bfloat16, errors and score in float32."""
    lower = copy.deepcopy(network)
    for part in (lower.backbone, lower.autoencoder, lower.context):
        part.to(kind)
    return lower
