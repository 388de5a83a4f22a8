"""Post-training quantisation to 8 bits for OpenVINO, held against the float32 model before it is let into a bundle."""

from __future__ import annotations

import timeit
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from calibration.equalise import equalise
from calibration.export import NetworkGraph
from calibration.features import extract_features
from calibration.head import refit_statistics
from calibration.progress import Reporter
from calibration.region import coarse_places
from calibration.rounded_backbone import quantise_backbone, round_backbone
from calibration.rounded_head import head_in_units, mark_8_bits, measure_peaks, round_head, rounding
from calibration.split_model import cut, join
from engines.bundle import MODEL_F32, MODEL_INT8, MODEL_INT8_WEIGHTS
from engines.engine import EXACT
from engines.extras import require
from engines.image import Image
from engines.manifest import Int8
from engines.network import InspectionNetwork

MAX_SHIFT_SIGMA = 0.5
MAX_FLIP_SHARE = 0.05
MAX_AUROC_DROP = 0.01
_RANGE_FRAMES = 100
_PEAK_FRAMES = 256
_HEAD_FRAMES = 48
_TIMED = 7
# What is not in 8 bits computes in float32, which every processor does, and none slowly.
_CONFIG = {"INFERENCE_PRECISION_HINT": EXACT, "PERFORMANCE_HINT": "LATENCY"}

Labelled = tuple[Sequence[Image], npt.NDArray[np.bool_]]


def quantise(
    folder: Path,
    network: InspectionNetwork,
    graph: NetworkGraph,
    train: Sequence[Image],
    held_out: Sequence[Image],
    exact: npt.NDArray[np.float64],
    threshold: float,
    labelled: Labelled | None,
    report: Reporter,
) -> Int8:
    """Writes a model with 8-bit convolutions into a bundle's folder, or leaves it out where it drifts too far.

    The errors, the context and the score stay in float32: they tell small differences of large numbers, which 8 bits
    cannot hold. What error is usual, and with it sigma units, are measured anew with the convolutions as they are now.

    Args:
        folder: the bundle's folder.
        network: the fitted float32 network; it is not changed.
        graph: the graph of such a network.
        train: frames of good parts that it was fitted to.
        held_out: frames of held-out good parts.
        exact: float32 scores of the held-out parts, in sigma.
        threshold: of the score, in sigma.
        labelled: good and defective frames, or None where there are none.
        report: told how far it is.

    Raises:
        TaktlineError: NNCF or OpenVINO is not installed.
    """
    nncf, openvino = import_nncf()
    core = openvino.Core()
    size = network.config.size
    equal = equalise(network.backbone, train[:_PEAK_FRAMES])
    own = head_in_units(network, equal)

    def named(task: str, done: int, total: int, note: str = "") -> None:
        report(f"int8 {task}", done, total, note)

    round_backbone(own.backbone, train[:_PEAK_FRAMES], named)
    backbone, head = cut(openvino, core.read_model(graph.model(own)))
    backbone = quantise_backbone(nncf, backbone, own.backbone, train[:_RANGE_FRAMES])
    # Features are taken from the whole model as it will run: OpenVINO rounds elsewhere where there is no head.
    compiled = core.compile_model(join(openvino, backbone, head, True), "CPU", _CONFIG)

    def features(frames: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        found = compiled(frames)
        return torch.from_numpy(found[2].copy()), torch.from_numpy(found[3].copy())

    frames = [*train, *held_out]
    with extract_features(features, frames, len(frames), size, named, coarse_places(network)) as cache:
        seen, kept = np.arange(len(train)), np.arange(len(train), len(frames))
        round_head(own, cache, seen[:: max(1, len(seen) // _HEAD_FRAMES)])
        peaks = measure_peaks(own, cache, seen)
        with rounding(own, peaks):
            refit_statistics(own, cache, seen, kept, exact)
    _, head = cut(openvino, core.read_model(graph.model(own)))
    mark_8_bits(openvino, head, peaks)
    joined = join(openvino, backbone, head, False)
    compiled = core.compile_model(joined, "CPU", _CONFIG)
    found = _scores(compiled, held_out)
    reference = core.compile_model(str(folder / MODEL_F32), "CPU", _CONFIG)
    areas = None if labelled is None else (_area(reference, labelled), _area(compiled, labelled))
    verdict = judge_drift(exact, found, threshold, EXACT, areas)
    faster = _time(reference, held_out[0]) / _time(compiled, held_out[0])
    named("model", 1, 1, f"{faster:.1f} times float32's speed, {verdict.shift:.2f} sigma from its scores")
    if verdict.accepted:
        openvino.save_model(joined, str(folder / MODEL_INT8), compress_to_fp16=False)
        assert (folder / MODEL_INT8_WEIGHTS).is_file()
    return verdict


def judge_drift(
    exact: npt.NDArray[np.float64],
    found: npt.NDArray[np.float64],
    threshold: float,
    rest: str,
    areas: tuple[float, float] | None = None,
) -> Int8:
    """Says whether int8 scores of held-out good parts stay close enough to the float32 ones.

    Args:
        exact: float32 scores in sigma, `[n]`.
        found: int8 scores in sigma, `[n]`.
        threshold: in sigma.
        rest: precision of the layers that are not in 8 bits.
        areas: AUROC on labelled parts in float32 and in int8, where there are some.
    """
    shift = float(np.sqrt(np.mean((found - exact) ** 2)))
    flips = float(np.mean((found > threshold) != (exact > threshold)))
    reason = None
    if shift > MAX_SHIFT_SIGMA:
        reason = f"its scores move by {shift:.2f} sigma, more than {MAX_SHIFT_SIGMA}"
    elif flips > MAX_FLIP_SHARE:
        reason = f"{flips:.0%} of the verdicts flip, more than {MAX_FLIP_SHARE:.0%}"
    elif areas is not None and areas[0] - areas[1] > MAX_AUROC_DROP:
        reason = f"its AUROC falls from {areas[0]:.3f} to {areas[1]:.3f}, by more than {MAX_AUROC_DROP}"
    return Int8(
        accepted=reason is None,
        rest=rest,
        reason=reason,
        samples=len(exact),
        shift=shift,
        largest_shift=float(np.abs(found - exact).max()),
        flips=flips,
        max_shift=MAX_SHIFT_SIGMA,
        max_flips=MAX_FLIP_SHARE,
        auroc=None if areas is None else areas[1],
        exact_auroc=None if areas is None else areas[0],
        max_auroc_drop=MAX_AUROC_DROP,
    )


def import_nncf() -> tuple[Any, Any]:
    """Imports NNCF and OpenVINO.

    Raises:
        TaktlineError: one of them is not installed; the text names the extra.
    """
    return require("nncf", "int8"), require("openvino", "")


def _scores(compiled: Any, frames: Sequence[Image]) -> npt.NDArray[np.float64]:
    parts = [compiled(np.stack(frames[start : start + 8]))["score"].copy() for start in range(0, len(frames), 8)]
    return np.concatenate(parts).astype(np.float64)


def _time(compiled: Any, frame: Image) -> float:
    """Returns the seconds that a frame takes, of the quickest of a few."""
    return min(timeit.repeat(lambda: compiled(frame[None]), number=1, repeat=_TIMED))


def _area(compiled: Any, labelled: Labelled) -> float:
    frames, defective = labelled
    return float(roc_auc_score(defective, _scores(compiled, frames)))
