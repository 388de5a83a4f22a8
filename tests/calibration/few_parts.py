"""Measures what few good parts are worth: AUROC and false alarms of models that learned from 10, 20, 40 and 80.

    python -m tests.calibration.few_parts DATA/screw DATA/pill --backbone WEIGHTS

The parts are drawn at random by the seed; each larger number includes the smaller ones.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from calibration.autoencoder import TrainingSettings
from calibration.backbone import load_backbone
from calibration.dataset import open_dataset, read_frames
from calibration.evaluate import image_metrics
from calibration.features import FeatureCache, extract_features
from calibration.fit import fit_features, new_network
from calibration.progress import silent
from calibration.threshold import choose_threshold
from engines.network import InspectionNetwork, NetworkConfig

COUNTS = (10, 20, 40, 80)
ROW = "{:16} {:>5} {:>4}  {:>6}  {:>5}  {:>12}  {:>12}"


def measure(root: Path, weights: str, counts: tuple[int, ...], seed: int) -> None:
    """Prints a row for each number of parts."""
    dataset = open_dataset(root)
    backbone = load_backbone(weights)
    config = NetworkConfig()
    order = np.random.default_rng(seed).permutation(len(dataset.train))[: max(counts)]
    samples = [*(dataset.train[index] for index in order), *dataset.test]
    frames = read_frames(samples, config.size)
    with extract_features(backbone.network, frames, len(samples), config.size, silent) as cache:
        for count in counts:
            network = new_network(backbone, count, config)
            few = FeatureCache(cache.cells[:count], cache.grid)
            fitted = fit_features(network, few, True, TrainingSettings(seed=seed), silent)
            threshold = choose_threshold("sigma", None, fitted.scores.tolist())
            scores = judge(network, cache, np.arange(len(order), len(samples)))
            found = image_metrics(scores, dataset.test, threshold.value)
            low, high = threshold.interval_per_1000
            alarms = f"{found['confusion']['fp']} of {found['good']}"
            stated = f"{low / 10:.0f} to {high / 10:.0f} %"
            row = (dataset.category, count, seed, f"{found['auroc']:.3f}", f"{found['f1']:.3f}", alarms, stated)
            print(ROW.format(*row), flush=True)


@torch.no_grad()
def judge(network: InspectionNetwork, cache: FeatureCache, images: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Scores images by their features, in sigma."""
    parts = [network.judge(layer2, layer3)[0] for layer2, layer3 in cache.maps(images)]
    return torch.cat(parts).double().numpy()


def main(arguments: list[str]) -> None:
    """Reads the command line and measures."""
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--backbone", default="imagenet")
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args(arguments)
    print(ROW.format("set", "parts", "seed", "AUROC", "F1", "false alarms", "stated"))
    for root in given.data:
        for seed in given.seeds:
            measure(root, given.backbone, tuple(given.counts), seed)


if __name__ == "__main__":
    main(sys.argv[1:])
