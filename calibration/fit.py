"""Fits the whole network to normal parts: autoencoder, error weights, context, norms and sigma units."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from calibration.autoencoder import Losses, TrainingSettings
from calibration.backbone import LoadedBackbone
from calibration.cross import LEAST_PARTS, cross_fit
from calibration.features import FeatureCache, extract_features
from calibration.head import fit_head
from calibration.progress import Reporter
from calibration.region import coarse_places, count_by_tile, visible_cells
from engines.image import Image
from engines.network import InspectionNetwork, NetworkConfig

HELD_OUT_SHARE = 0.2
MIN_HELD_OUT = 5
ENOUGH_FOR_CONTEXT = 100


@dataclass(frozen=True)
class Fitted:
    """A network ready to be exported, and what it was fitted with.

    Attributes:
        network: in evaluation mode, scores and heatmaps in sigma units.
        losses: of the autoencoder.
        trained_on: how many images the autoencoder was trained on.
        held_out: which of the images it did not learn from.
        scored: which of the images have a score by a network that did not learn from them: all, but only the held-out
            ones where they are few or the backbone is untrained.
        scores: those scores, in sigma, float64 `[n]`.
        heat: their heatmaps, in sigma, float32 `[n, h, w]`.
        seconds: how long it all took.
    """

    network: InspectionNetwork
    losses: Losses
    trained_on: int
    held_out: npt.NDArray[np.int64]
    scored: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    heat: npt.NDArray[np.float32]
    seconds: float

    @property
    def own(self) -> npt.NDArray[np.float64]:
        """Scores of the held-out images, which are the network's own, `[n]`."""
        return self.scores[np.isin(self.scored, self.held_out)]


def fit_network(
    backbone: LoadedBackbone,
    frames: Iterable[Image],
    count: int,
    config: NetworkConfig,
    settings: TrainingSettings,
    report: Reporter,
) -> Fitted:
    """Fits a network to frames of normal parts.

    Args:
        backbone: where features come from, and which pixels are ignored; context normalisation is left out for an
            untrained one.
        frames: uint8 `[H, W, 3]`, at the network's size.
        count: how many frames there are.
        config: the network's shape.
        settings: the training's.
        report: told how far it is.
    """
    started = time.monotonic()
    network = new_network(backbone, count, config)
    with extract_features(backbone.network, frames, count, config.size, report, coarse_places(network)) as cache:
        fitted = fit_features(network, cache, backbone.pretrained, settings, report)
    return replace(fitted, seconds=time.monotonic() - started)


def new_network(backbone: LoadedBackbone, count: int, config: NetworkConfig) -> InspectionNetwork:
    """Makes a network on a backbone, shaped as suits so many normal parts, with nothing fitted yet."""
    config = replace(config, arch=backbone.network.arch, stride_in_1x1=backbone.network.stride_in_1x1)
    if count < ENOUGH_FOR_CONTEXT:
        # Few images do not show what error is usual in every context: half of the score leans on the error's share of
        # the feature's own energy instead, which needs no fitting.
        config = replace(config, context=min(config.context, 0.5))
    if not backbone.pretrained:
        # Measured: on random features the context predicts the error of defects too, and the score inverts; and what
        # they tell lies in layer2, in few cells.
        weights = (1.0, 0.25)
        config = replace(config, context=0.0, layer_weights=weights, heat_weights=weights, top_share=0.01)
    keep = None
    if backbone.network.visible is not None:
        keep = visible_cells(backbone.network.visible[0, 0].numpy() > 0)
        config = replace(config, inspected=count_by_tile(keep, config))
    network = InspectionNetwork(config).eval()
    network.backbone.load_state_dict(backbone.network.state_dict())
    if network.keep is not None and keep is not None:
        network.keep.copy_(torch.from_numpy(keep))
    return network


def fit_features(
    network: InspectionNetwork, cache: FeatureCache, pretrained: bool, settings: TrainingSettings, report: Reporter
) -> Fitted:
    """Fits a new network to features of normal parts.

    A fifth of them is held out and watches the training. Sigma units rest on all of them (`calibration.cross`); where
    they are few, or the backbone is untrained and only for trying things out, on the held-out ones.

    Args:
        network: see `new_network`; changed in place.
        cache: the features.
        pretrained: whether the backbone is.
        settings: the training's.
        report: told how far it is.
    """
    started = time.monotonic()
    train, held_out = split_normals(len(cache), settings.seed)
    losses, scores, heat = fit_head(network, cache, train, held_out, settings, report)
    scored = held_out
    if pretrained and len(cache) >= LEAST_PARTS:
        scored = np.arange(len(cache))
        scores, heat = cross_fit(network, cache, held_out, (scores, heat), settings, report)
    return Fitted(network, losses, len(train), held_out, scored, scores, heat, time.monotonic() - started)


def split_normals(count: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Splits images into those to train on and those held out, a fifth but at least five."""
    order = np.random.default_rng(seed).permutation(count)
    held = max(MIN_HELD_OUT, round(HELD_OUT_SHARE * count))
    return np.sort(order[held:]), np.sort(order[:held])
