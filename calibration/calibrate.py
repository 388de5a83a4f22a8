"""The whole way from a folder of pictures to a bundle."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from calibration.autoencoder import TrainingSettings
from calibration.backbone import load_backbone
from calibration.dataset import FEW_NORMALS, Dataset, open_dataset, read_frames
from calibration.export import write_network
from calibration.fit import Fitted, fit_network
from calibration.progress import Reporter, silent
from calibration.threshold import DEFAULT_SIGMA, heatmap_scale, sigma_threshold
from engines.bundle import Bundle, new_bundle, open_bundle, write_manifest
from engines.image import Image
from engines.network import NetworkConfig

log = logging.getLogger(__name__)

_VERSIONS_OF = ("taktline", "torch", "torchvision", "onnx", "openvino", "numpy", "opencv-python-headless")
_ADAPT_FRAMES = 64


@dataclass(frozen=True)
class CalibrationSettings:
    """What a calibration can be told.

    Attributes:
        backbone: `imagenet`, `untrained`, or a weights file.
        sigma: the threshold in standard deviations above the mean of good parts.
        network: the network's shape.
        training: the autoencoder's training.
    """

    backbone: str = "imagenet"
    sigma: float = DEFAULT_SIGMA
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)


def calibrate(root: Path, out: Path, settings: CalibrationSettings, report: Reporter = silent) -> Bundle:
    """Calibrates a model on the good parts of a data set and writes it as a bundle.

    Args:
        root: a data set in MVTec AD layout.
        out: the bundle's folder; an older bundle there is replaced when the new one is complete.
        settings: what to do differently.
        report: told how far it is.

    Raises:
        TaktlineError: the data, the weights or the place to write cannot be used. Nothing is left behind.
    """
    dataset = open_dataset(root)
    if len(dataset.train) < FEW_NORMALS:
        log.warning(
            "%s has only %d pictures of good parts; the threshold will be rough, give 100 or more",
            root,
            len(dataset.train),
        )
    with new_bundle(out) as folder:
        size = settings.network.size
        adapt = list(read_frames(dataset.train[:_ADAPT_FRAMES], size)) if settings.backbone == "untrained" else None
        backbone = load_backbone(settings.backbone, settings.training.seed, adapt)
        if not backbone.pretrained:
            log.warning("the backbone is UNTRAINED: good for trying things out, not for inspecting real parts")
        frames: Iterator[Image] = read_frames(dataset.train, size)
        fitted = fit_network(backbone, frames, len(dataset.train), settings.network, settings.training, report)
        report("export", 0, 1)
        write_network(fitted.network, folder)
        backbone_info = {"source": backbone.source, "sha256": backbone.sha256, "pretrained": backbone.pretrained}
        write_manifest(folder, _manifest(dataset, fitted, settings, backbone_info))
        report("export", 1, 1)
    return open_bundle(out)


def _manifest(
    dataset: Dataset, fitted: Fitted, settings: CalibrationSettings, backbone: dict[str, object]
) -> dict[str, object]:
    held = len(fitted.held_out)
    mean, std = (float(value) for value in fitted.network.score_stats)
    return {
        "category": dataset.category,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "network": fitted.network.config.to_json(),
        "backbone": backbone,
        "threshold": sigma_threshold(held, settings.sigma).model_dump(),
        "heatmap": heatmap_scale(fitted.heat).model_dump(),
        "statistics": {"samples": held, "mean": mean, "std": std, "highest": float(np.max(fitted.scores))},
        "training": {
            "normals": len(dataset.train),
            "seed": settings.training.seed,
            "epochs": len(fitted.losses.train),
            "train_loss": fitted.losses.train,
            "validation_loss": fitted.losses.validation,
            "seconds": round(fitted.seconds, 1),
        },
        "metrics": {},
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS_OF:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
