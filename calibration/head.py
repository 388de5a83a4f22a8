"""Fits all that follows the backbone: autoencoder, error weights, context, norms and sigma units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from calibration.autoencoder import Losses, Standard, TrainingSettings, fold_autoencoder, standardise, train_autoencoder
from calibration.context import collect_cells, overall_errors, train_context
from calibration.features import FeatureCache
from calibration.progress import Reporter
from calibration.region import kept_places
from engines.network import InspectionNetwork, Maps

SAMPLE_IMAGES = 400
WEIGHT_FLOOR = 0.02
# What the spread of all tiles counts beside a tile's own, in parts.
TILE_PRIOR = 20
LEAST_STD = 1e-6

Images = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
Heatmaps = npt.NDArray[np.float32]


@torch.no_grad()
def fit_head(
    network: InspectionNetwork,
    cache: FeatureCache,
    train: Images,
    held_out: Images,
    settings: TrainingSettings,
    report: Reporter,
) -> tuple[Losses, Scores, Heatmaps]:
    """Trains all of a network but its backbone, and brings it to sigma units.

    Args:
        network: changed in place.
        cache: features of the images.
        train: which images to learn from.
        held_out: which images watch the training and give the statistics behind sigma units.
        settings: the training.
        report: told how far it is.

    Returns:
        The autoencoder's losses, and of the held-out images scores, float64 `[n]`, and heatmaps, float32 `[n, h, w]`,
        both in sigma.
    """
    config = network.config
    standard = standardise(cache, train)
    with torch.enable_grad():
        model, losses = train_autoencoder(
            cache, train, held_out, standard, (config.hidden, config.code), settings, report
        )
    network.autoencoder = fold_autoencoder(model, standard).eval()
    sample = sample_of(train)
    report("statistics", 0, 2)
    _fit_weights(network, standard, cache, sample)
    report("statistics", 1, 2)
    if config.context > 0:
        cells, others = (collect_cells(network, cache, images) for images in (sample, held_out))
        train_context(network.context, cells, others, cache.grid, settings.seed, settings.context_steps, report)
    scores, heat = _fit_units(network, cache, held_out)
    report("statistics", 2, 2)
    return losses, scores, heat


@torch.no_grad()
def refit_statistics(
    network: InspectionNetwork,
    cache: FeatureCache,
    train: Images,
    held_out: Images,
    scores: Scores,
) -> None:
    """Fits a network's usual errors, norms and sigma units anew to other features of the same images, without training.

    Args:
        network: changed in place.
        cache: the features, such as those of a quantised backbone.
        train: which images the usual errors are measured on.
        held_out: which images norms and sigma units are measured on.
        scores: what these scored before, in sigma, `[n]`; they keep mean and standard deviation.
    """
    if network.config.context > 0:
        network.context.overall.copy_(overall_errors(collect_cells(network, cache, train)))
    _fit_units(network, cache, held_out)
    std = max(float(scores.std(ddof=1)), LEAST_STD)
    shift_units(network, -float(scores.mean()) / std, 1 / std)


def shift_units(network: InspectionNetwork, mean: float, std: float) -> None:
    """Moves a network's sigma units: what scored `mean` then scores 0, and what scored `std` more scores 1."""
    stats = network.score_stats.double()
    network.score_stats.copy_(torch.stack([stats[0] + mean * stats[1], stats[1] * std]))


def sample_of(images: Images) -> Images:
    """Picks the images that statistics are fitted on: all, or as many as suffice, evenly spread."""
    return images[np.linspace(0, len(images) - 1, min(len(images), SAMPLE_IMAGES)).round().astype(np.int64)]


def _fit_weights(
    network: InspectionNetwork, standard: Standard, cache: FeatureCache, images: Images
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


def _fit_units(network: InspectionNetwork, cache: FeatureCache, images: Images) -> tuple[Scores, Heatmaps]:
    """Brings every layer's map to mean 0 and standard deviation 1 on held-out normals, then scores and heatmaps.

    Returns:
        Scores and heatmaps of these images, in sigma.
    """
    parts = [network.layer_maps(layer2, layer3) for layer2, layer3 in cache.maps(images)]
    surprise, relative, heat = (_join(kind) for kind in zip(*parts, strict=True))
    assert heat is not None
    places = kept_places(network)
    targets = (network.score_norms[0], network.score_norms[1], network.heat_norms)
    for maps, norms in zip((surprise, relative, heat), targets, strict=True):
        for layer, values in enumerate(maps or ()):
            norms[layer] = _mean_std(values.flatten(1)[:, places[layer]])
    score_map, heat_map = network.merge(surprise, relative, heat)
    if network.tile_stats is not None:
        network.tile_stats.copy_(_tile_stats(network.tile_scores(score_map)))
    network.score_stats.copy_(_mean_std(network.raw_score(score_map)))
    network.heat_stats.copy_(_mean_std(heat_map.flatten(1)[:, places[0]]))
    scores, cells = network.in_units(score_map, heat_map)
    return scores.double().numpy(), cells.numpy()


def _join(parts: Sequence[Maps | None]) -> Maps | None:
    """Puts the maps of several batches together."""
    fine, coarse = ([maps[layer] for maps in parts if maps is not None] for layer in (0, 1))
    return (torch.cat(fine), torch.cat(coarse)) if fine else None


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
