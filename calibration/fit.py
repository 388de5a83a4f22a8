"""Fits the whole network to normal parts: autoencoder, error weights, context, norms and sigma units."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from calibration.autoencoder import Losses, Standard, TrainingSettings, fold_autoencoder, standardise, train_autoencoder
from calibration.backbone import LoadedBackbone
from calibration.context import collect_cells, overall_errors, train_context
from calibration.features import FeatureCache, extract_features
from calibration.progress import Reporter
from calibration.region import coarse_places, count_by_tile, kept_places, visible_cells
from engines.image import Image
from engines.network import InspectionNetwork, NetworkConfig

HELD_OUT_SHARE = 0.2
MIN_HELD_OUT = 5
SAMPLE_IMAGES = 400
ENOUGH_FOR_CONTEXT = 100
WEIGHT_FLOOR = 0.02
# What the spread of all tiles counts beside a tile's own, in parts.
TILE_PRIOR = 20


@dataclass(frozen=True)
class Fitted:
    """A network ready to be exported, and what it was fitted with.

    Attributes:
        network: in evaluation mode, scores and heatmaps in sigma units.
        losses: of the autoencoder.
        trained_on: how many images the autoencoder was trained on.
        held_out: which of the images were held out.
        scores: scores of the held-out images, in sigma, float64 `[n]`.
        heat: cells of their heatmaps, in sigma, float32 `[n, h, w]`.
        seconds: how long it all took.
    """

    network: InspectionNetwork
    losses: Losses
    trained_on: int
    held_out: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    heat: npt.NDArray[np.float32]
    seconds: float


def fit_network(
    backbone: LoadedBackbone,
    frames: Iterable[Image],
    count: int,
    config: NetworkConfig,
    settings: TrainingSettings,
    report: Reporter,
) -> Fitted:
    """Fits a network to frames of normal parts.

    A fifth of them is held out: it watches the training, and gives the statistics behind sigma units.

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
    with extract_features(backbone.network, frames, count, config.size, report, coarse_places(network)) as cache:
        train, held_out = split_normals(count, settings.seed)
        standard = standardise(cache, train)
        model, losses = train_autoencoder(
            cache, train, held_out, standard, (config.hidden, config.code), settings, report
        )
        network.autoencoder = fold_autoencoder(model, standard).eval()
        with torch.no_grad():
            sample = sample_of(train)
            report("statistics", 0, 3)
            _fit_weights(network, standard, cache, sample)
            report("statistics", 1, 3)
            if config.context > 0:
                cells, others = (collect_cells(network, cache, images) for images in (sample, held_out))
                train_context(network.context, cells, others, cache.grid, settings.seed, report)
            _fit_norms(network, cache, held_out)
            report("statistics", 2, 3)
            scores, heat = _measure(network, cache, held_out)
            report("statistics", 3, 3)
    return Fitted(network, losses, len(train), held_out, scores, heat, time.monotonic() - started)


@torch.no_grad()
def refit_statistics(
    network: InspectionNetwork,
    cache: FeatureCache,
    train: npt.NDArray[np.int64],
    held_out: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Fits a network's usual errors, norms and sigma units anew to other features of the same images, without training.

    Args:
        network: changed in place.
        cache: the features, such as those of a quantised backbone.
        train: which images the usual errors are measured on.
        held_out: which images norms and sigma units are measured on.

    Returns:
        Scores of the held-out images in sigma, `[n]`.
    """
    if network.config.context > 0:
        network.context.overall.copy_(overall_errors(collect_cells(network, cache, train)))
    _fit_norms(network, cache, held_out)
    return _measure(network, cache, held_out)[0]


def split_normals(count: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Splits images into those to train on and those held out, a fifth but at least five."""
    order = np.random.default_rng(seed).permutation(count)
    held = max(MIN_HELD_OUT, round(HELD_OUT_SHARE * count))
    return np.sort(order[held:]), np.sort(order[:held])


def sample_of(images: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Picks the images that statistics are fitted on: all, or as many as suffice, evenly spread."""
    return images[np.linspace(0, len(images) - 1, min(len(images), SAMPLE_IMAGES)).round().astype(np.int64)]


def _fit_weights(
    network: InspectionNetwork, standard: Standard, cache: FeatureCache, images: npt.NDArray[np.int64]
) -> None:
    """Weighs each channel inversely to how badly it is reconstructed on normals, so that none drowns the others."""
    squares = [torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)]
    places = kept_places(network)
    for layer2, layer3 in cache.maps(images):
        _, guess2, guess3 = network.autoencoder(layer2, layer3)
        for index, difference in enumerate((guess2 - layer2, guess3 - layer3)):
            counted = difference.flatten(2)[:, :, places[index]].double()
            squares[index] = squares[index] + (counted**2).mean(2).sum(0)
    own = network.config.channels[0]
    channels = [slice(0, own), slice(4 * own, None)]
    for error, square, part in zip((network.error2, network.error3), squares, channels, strict=True):
        variance = standard.std[part].double() ** 2
        residual = square / len(images) / variance
        weight = 1 / (residual + WEIGHT_FLOOR * residual.mean())
        weight = weight / weight.mean() / variance
        error.weight.copy_((weight / len(weight)).reshape(1, -1, 1, 1))
        error.mean.copy_(standard.mean[part].reshape(1, -1, 1, 1))


def _fit_norms(network: InspectionNetwork, cache: FeatureCache, images: npt.NDArray[np.int64]) -> None:
    """Brings every layer's map to mean 0 and standard deviation 1 on held-out normals, then scores and heatmaps."""
    collected: dict[tuple[str, int], list[Tensor]] = {}
    places = kept_places(network)
    for layer2, layer3 in cache.maps(images):
        for kind, maps in zip(("context", "relative", "heat"), network.layer_maps(layer2, layer3), strict=True):
            for layer, values in enumerate(maps or ()):
                collected.setdefault((kind, layer), []).append(values.flatten(1)[:, places[layer]])
    for (kind, layer), parts in collected.items():
        stats = _mean_std(torch.cat(parts))
        target = network.heat_norms if kind == "heat" else network.score_norms[("context", "relative").index(kind)]
        target[layer] = stats
    score_maps, raw_heat = [], []
    for layer2, layer3 in cache.maps(images):
        score_map, heat = network.raw_maps(layer2, layer3)
        score_maps.append(score_map)
        raw_heat.append(heat.flatten(1)[:, places[0]])
    if network.tile_stats is not None:
        network.tile_stats.copy_(_tile_stats(torch.cat([network.tile_scores(part) for part in score_maps])))
    network.score_stats.copy_(_mean_std(torch.cat([network.raw_score(part) for part in score_maps])))
    network.heat_stats.copy_(_mean_std(torch.cat(raw_heat)))


def _tile_stats(scores: Tensor) -> Tensor:
    """Returns mean and standard deviation of each tile's score `[n, tiles]`; of few parts, the deviation leans on that
    of all tiles."""
    scores = scores.double()
    variance, degrees = scores.var(0), len(scores) - 1
    usual = (degrees * variance + TILE_PRIOR * variance.mean()) / (degrees + TILE_PRIOR)
    return torch.stack([scores.mean(0), usual.sqrt().clamp_min(1e-6)]).float()


def _mean_std(values: Tensor) -> Tensor:
    values = values.double()
    return torch.stack([values.mean(), values.std().clamp_min(1e-6)]).float()


def _measure(
    network: InspectionNetwork, cache: FeatureCache, images: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    scores, heat = [], []
    for layer2, layer3 in cache.maps(images):
        score, cells = network.judge(layer2, layer3)
        scores.append(score)
        heat.append(cells)
    return torch.cat(scores).double().numpy(), torch.cat(heat).numpy()
