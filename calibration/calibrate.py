"""The whole way from a folder of pictures to a bundle."""

from __future__ import annotations

import datetime
import logging
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from calibration.addition import Addition
from calibration.autoencoder import TrainingSettings
from calibration.backbone import LoadedBackbone, load_backbone
from calibration.bands import measure_bands
from calibration.dataset import Dataset, Sample, open_dataset, read_frames
from calibration.decide import decide_threshold
from calibration.defaults import DEFAULT_SPLIT
from calibration.eight_bits import add_8_bits, read_labelled, worth_8_bits
from calibration.export import write_network
from calibration.features import cache_capacity
from calibration.fit import Fitted, fit_network
from calibration.heat_scale import heatmap_scale
from calibration.light import measure_appearance
from calibration.looks import some_of, write_looks
from calibration.more_parts import more_parts
from calibration.progress import Reporter, silent
from calibration.quantise import import_nncf
from calibration.region import InspectedRegion, Roi, read_region, visible_cells, write_region
from calibration.regions import choose_regions, measure_regions
from calibration.size import MeasuredSize, measure_size
from calibration.survey import shared_pictures
from calibration.threshold import check_parameter, choose_threshold
from engines.bundle import Bundle, new_bundle, open_bundle, update_manifest, write_manifest
from engines.errors import DataError
from engines.manifest import Int8
from engines.network import NetworkConfig
from engines.threshold_rule import LABELLED_RULES, Rule

log = logging.getLogger(__name__)

_VERSIONS_OF = ("taktline", "torch", "torchvision", "onnx", "openvino", "numpy", "opencv-python-headless")
_ADAPT_FRAMES = 64


@dataclass(frozen=True)
class CalibrationSettings:
    """What a calibration can be told.

    Attributes:
        backbone: `imagenet`, `untrained`, or a weights file.
        rule: how the threshold is chosen.
        value: what the rule is given; None for its default.
        split: share of good parts to learn from, where the data set has no split of its own.
        network: the network's shape.
        tile: largest height and width of a tile, if size and tiles are measured on the good parts instead; else None.
        takt_ms: no size is then chosen that takes the backbone longer, in milliseconds; None for no limit.
        training: the autoencoder's training.
        int8: whether to make an 8-bit model for OpenVINO as well; None to make one where the extra `int8` is installed,
            the backbone is pretrained, and there are so many good parts that they show how far 8 bits move a score.
        ignore: a picture, white where frames are ignored; see `calibration.region.read_region`.
        roi: x, y, width and height in pixels of the pictures; all outside is ignored.
    """

    backbone: str = "imagenet"
    rule: Rule = "sigma"
    value: float | None = None
    split: float = DEFAULT_SPLIT
    network: NetworkConfig = field(default_factory=NetworkConfig)
    tile: tuple[int, int] | None = None
    takt_ms: float | None = None
    training: TrainingSettings = field(default_factory=TrainingSettings)
    int8: bool | None = False
    ignore: Path | None = None
    roi: Roi | None = None


def calibrate(
    root: Path, out: Path, settings: CalibrationSettings, report: Reporter = silent, addition: Addition | None = None
) -> Bundle:
    """Calibrates a model on the good parts of a data set and writes it as a bundle.

    Args:
        root: a data set in MVTec AD layout.
        out: the bundle's folder; an older bundle there is replaced when the new one is complete.
        settings: what to do differently.
        report: told how far it is.
        addition: parts of a line's journal, to learn from and to check with as well.

    Raises:
        TaktlineError: the data, the weights or the place to write cannot be used. Nothing is left behind.
    """
    if settings.int8:
        import_nncf()
    dataset = open_dataset(root, settings.split, settings.training.seed)
    if addition is not None:
        addition = addition.drawn(len(dataset.train), settings.training.seed)
        for warning in addition.warnings(dataset):
            log.warning("%s", warning)
        dataset = addition.join(dataset)
    _check_rule(settings, dataset)
    for first, second in shared_pictures(dataset):
        log.warning("the same picture is in train and test: %s and %s; its test says nothing", first, second)
    measured = None
    if settings.tile is not None:
        measured = measure_size(dataset.train, settings.network, settings.tile, settings.takt_ms, report)
        settings = replace(settings, network=measured.network)
    size = settings.network.size
    region = read_region(settings.ignore, settings.roi, dataset.train[0].path, size, settings.network.ring)
    with new_bundle(out) as folder:
        backbone = _load_backbone(dataset, settings, region)
        # Said once it is certain that there are weights: without them, the demonstration begins again with others.
        more = more_parts(len(dataset.train))
        if more is not None:
            log.warning("%s: %s", root, more)
        train = _within_cache(dataset.train, settings)
        if not backbone.pretrained:
            log.warning("the backbone is UNTRAINED: good for trying things out, not for inspecting real parts")
        frames = read_frames(train, size)
        fitted = fit_network(backbone, frames, len(train), settings.network, settings.training, report)
        report("export", 0, 1)
        graph = write_network(fitted.network, folder)
        if region is not None:
            write_region(region, folder)
        good = list(read_frames([train[index] for index in some_of(len(train))], size))
        looks = write_looks(folder, good, None if region is None else region.visible)
        wanted = worth_8_bits(backbone, len(train)) if settings.int8 is None else settings.int8
        labelled = read_labelled(dataset.test, size, settings.training.seed) if wanted else None
        int8 = add_8_bits(folder, train, labelled, fitted, graph, report) if wanted else None
        backbone_info = {"source": backbone.source, "sha256": backbone.sha256, "pretrained": backbone.pretrained}
        values = _manifest(dataset, fitted, settings, backbone_info, region, int8, measured)
        write_manifest(folder, values | {"looks": looks.model_dump()})
        held_out = list(read_frames([train[index] for index in fitted.held_out], size))
        bands = measure_bands(open_bundle(folder), fitted.network, held_out, report)
        own = {"bands": {name: band.model_dump() for name, band in bands.items()}}
        update_manifest(open_bundle(folder), own | {"appearance": measure_appearance(held_out).model_dump()})
        report("export", 1, 1)
    bundle = open_bundle(out)
    if settings.rule in LABELLED_RULES:
        bundle = decide_threshold(bundle, settings.rule, settings.value, dataset.test)
    if addition is None:
        return bundle
    training = bundle.manifest.training.model_copy(update={"added": addition.record(bundle)})
    return update_manifest(bundle, {"training": training.model_dump()})


def _load_backbone(dataset: Dataset, settings: CalibrationSettings, region: InspectedRegion | None) -> LoadedBackbone:
    """Loads the backbone, and hides from it what is ignored."""
    adapt = None
    if settings.backbone == "untrained":
        frames = read_frames(dataset.train[:_ADAPT_FRAMES], settings.network.size)
        adapt = [frame if region is None else region.blank(frame) for frame in frames]
    backbone = load_backbone(settings.backbone, settings.training.seed, adapt, settings.network.arch)
    if region is not None:
        backbone.network.visible = torch.from_numpy(region.visible[None, None]).float()
    return backbone


def _within_cache(samples: tuple[Sample, ...], settings: CalibrationSettings) -> tuple[Sample, ...]:
    capacity = cache_capacity(settings.network.size, settings.network.channels)
    if len(samples) <= capacity:
        return samples
    log.warning("of %d good parts %d are used, drawn at random: the temporary file for features is bounded",
                len(samples), capacity)  # fmt: skip
    picks = np.sort(np.random.default_rng(settings.training.seed).choice(len(samples), capacity, replace=False))
    return tuple(samples[index] for index in picks)


def _check_rule(settings: CalibrationSettings, dataset: Dataset) -> None:
    """Refuses at once what would only be refused after minutes of training."""
    check_parameter(settings.rule, settings.value)
    if settings.rule in LABELLED_RULES and len({sample.defective for sample in dataset.test}) < 2:
        raise DataError(
            f"the rule {settings.rule} needs good and defective test parts under {dataset.root}; give another rule"
        )


def _manifest(
    dataset: Dataset,
    fitted: Fitted,
    settings: CalibrationSettings,
    backbone: dict[str, object],
    region: InspectedRegion | None,
    int8: Int8 | None,
    measured: MeasuredSize | None,
) -> dict[str, object]:
    order = np.argsort(fitted.scores)
    scores = tuple(float(score) for score in fitted.scores[order])
    levels = measure_regions(fitted.heat[order])
    # Some rules want scores of defective parts, which the finished bundle gives; until then sigma holds.
    rule: Rule
    rule, value = ("sigma", None) if settings.rule in LABELLED_RULES else (settings.rule, settings.value)
    threshold = choose_threshold(rule, value, scores)
    mean, std = (float(value) for value in fitted.network.score_stats)
    return {
        "category": dataset.category,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "network": fitted.network.config.to_json(),
        "backbone": backbone,
        "threshold": threshold.model_dump(),
        "regions": [row.model_dump() for row in choose_regions(threshold, scores, levels)],
        "heatmap": heatmap_scale(fitted.heat, None if region is None else visible_cells(region.visible)).model_dump(),
        "statistics": {
            "samples": len(scores),
            "mean": mean,
            "std": std,
            "scores": scores,
            "regions": [row.model_dump() for row in levels],
        },
        "training": {
            "normals": len(fitted.held_out) + fitted.trained_on,
            "seed": settings.training.seed,
            "epochs": len(fitted.losses.train),
            "train_loss": fitted.losses.train,
            "validation_loss": fitted.losses.validation,
            "seconds": round(fitted.seconds, 1),
            "more_parts": more_parts(len(fitted.held_out) + fitted.trained_on),
            **({} if measured is None else measured.to_json()),
        },
        "int8": None if int8 is None else int8.model_dump(),
        "bands": {},
        "ignored": None if region is None else region.area.model_dump(),
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
