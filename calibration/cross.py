"""Scores all good parts by networks that did not see them: sigma units and thresholds then rest on all of them."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import torch

from calibration.autoencoder import TrainingSettings
from calibration.features import FeatureCache
from calibration.head import LEAST_STD, Heatmaps, Images, Scores, fit_head, shift_units
from calibration.progress import Reporter
from engines.network import InspectionNetwork

# What the held-out fifth says of other networks' scores is too rough below; see docs/recipe.md.
LEAST_PARTS = 200
# What a fold's training takes of the network's own: it need not be as good, only tell the same parts from each other.
STEPS_SHARE = 0.25
CONTEXT_STEPS_SHARE = 0.5


@torch.no_grad()
def cross_fit(
    network: InspectionNetwork,
    cache: FeatureCache,
    held_out: Images,
    known: tuple[Scores, Heatmaps],
    settings: TrainingSettings,
    report: Reporter,
) -> tuple[Scores, Heatmaps]:
    """Brings a network's sigma units from those of its held-out parts to those of all good parts.

    Two more heads learn from one half of the parts each and score the other half. Their scores are brought to the
    network's units by its own held-out parts, which all have scored.

    Args:
        network: its units are changed in place.
        cache: features of all good parts.
        held_out: which of them the network was not trained on.
        known: their scores and heatmaps, in sigma.
        settings: the network's training.
        report: told how far it is.

    Returns:
        Scores, float64 `[N]`, and heatmaps, float32 `[N, h, w]`, of all parts in the new sigma units.
    """
    everything = np.arange(len(cache))
    scores = np.zeros(len(cache))
    heat = np.zeros((len(cache), *known[1].shape[1:]), np.float32)
    fewer = replace(
        settings,
        steps=math.ceil(STEPS_SHARE * settings.steps),
        context_steps=math.ceil(CONTEXT_STEPS_SHARE * settings.context_steps),
    )
    for number, half in enumerate(_halves(len(cache), held_out, settings.seed), 1):

        def named(task: str, done: int, total: int, note: str = "", number: int = number) -> None:
            report(f"check {number} {task}", done, total, note)

        rest = np.setdiff1d(everything, half)
        _, scores[half], heat[half] = fit_head(copy.deepcopy(network), cache, rest, half, fewer, named)
    common, (own, own_heat) = scores[held_out], known
    scores = (scores - common.mean()) * _spread(own) / max(_spread(common), LEAST_STD) + own.mean()
    scores[held_out], heat[held_out] = own, own_heat
    mean, std = float(scores.mean()), max(float(scores.std(ddof=1)), LEAST_STD)
    shift_units(network, mean, std)
    return (scores - mean) / std, heat


def _spread(scores: Scores) -> float:
    """Returns the mean distance from the median: one odd part among few moves a standard deviation far more."""
    return float(np.abs(scores - np.median(scores)).mean())


def _halves(count: int, held_out: Images, seed: int) -> tuple[Images, Images]:
    """Splits images in two, with as many of the held-out ones in each."""
    rng = np.random.default_rng(seed)
    seen = np.setdiff1d(np.arange(count), held_out)
    order = np.concatenate([rng.permutation(held_out), rng.permutation(seen)])
    return np.sort(order[::2]), np.sort(order[1::2])
