"""How far lower precisions move a score: measured on held-out good parts, for the second look."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import t as student

from calibration.batch import at_once
from calibration.progress import Reporter
from engines.bundle import Bundle
from engines.engine import EXACT, Frames
from engines.errors import EngineUnavailable
from engines.image import Image
from engines.manifest import Band
from engines.network import InspectionNetwork
from engines.registry import ENGINES, engine_class, open_engine
from engines.resnet import Block

# Of new parts, so many at the least lie within the band.
COVERED = 0.997
EMULATED = "torch (emulated)"
_LEAST_WIDTH = 0.05
_EMULATED = {"bf16": torch.bfloat16, "f16": torch.float16}

ScoreArray = npt.NDArray[np.float64]


def measure_bands(
    bundle: Bundle, network: InspectionNetwork, held_out: Sequence[Image], report: Reporter
) -> dict[str, Band]:
    """Measures the band of every precision that any engine can run.

    A precision is measured with an engine that offers it on this machine; bfloat16 and float16 with PyTorch on the
    CPU where none does, so that a bundle can be carried to a machine with a GPU.

    Args:
        bundle: as it was just written.
        network: the float32 network.
        held_out: frames of held-out good parts.
        report: told how far it is.
    """
    frames = np.stack(held_out)
    exact = _run(bundle, "openvino" if _offers("openvino") else "torch", EXACT, frames)
    found: dict[str, tuple[str, ScoreArray]] = {}
    wanted = [(name, precision) for name in ENGINES for precision in _lower(bundle, name)]
    steps = len({precision for _, precision in wanted} | set(_EMULATED))
    for name, precision in wanted:
        if precision not in found:
            found[precision] = name, _run(bundle, name, precision, frames)
            report("bands", len(found), steps, precision)
    for precision, kind in _EMULATED.items():
        if precision not in found:
            found[precision] = EMULATED, _emulate(network, kind, frames)
            report("bands", len(found), steps, precision)
    threshold = bundle.manifest.threshold.value
    return {precision: band(exact, scores, threshold, name) for precision, (name, scores) in found.items()}


def band(exact: ScoreArray, found: ScoreArray, threshold: float, engine: str) -> Band:
    """Makes a band of float32 scores and those of a lower precision of the same parts.

    Its offset is the median of the differences, or 0 where they were emulated: another rounding may lie elsewhere. Its
    width holds 99.7 % of new parts, and all that were measured.

    Args:
        exact: in sigma, `[n]`.
        found: in sigma, `[n]`.
        threshold: in sigma.
        engine: what gave `found`.
    """
    offset = 0.0 if engine == EMULATED else float(np.median(found - exact))
    moved = found - offset - exact
    largest = float(np.abs(moved).max())
    count = len(exact)
    # A prediction interval of normally distributed differences, wider where few of them are known.
    reach = float(student.ppf((1 + COVERED) / 2, max(1, count - 1))) * math.sqrt(1 + 1 / count)
    width = max(_LEAST_WIDTH, abs(float(moved.mean())) + reach * float(moved.std(ddof=min(1, count - 1))), largest)
    return Band(
        offset=offset,
        width=width,
        samples=count,
        std=float(moved.std()),
        largest=largest,
        share=float(np.mean(np.abs(found - offset - threshold) <= width)),
        measured_with=engine,
    )


def _offers(name: str) -> bool:
    try:
        engine_class(name).devices()
    except EngineUnavailable:
        return False
    return True


def _lower(bundle: Bundle, name: str) -> list[str]:
    """Lists the precisions below float32 that an engine offers here on its preferred device."""
    if not _offers(name):
        return []
    found = engine_class(name)
    return [precision for precision in found.precisions_for(bundle, found.devices()[0]) if precision != EXACT]


def _run(bundle: Bundle, name: str, precision: str, frames: Frames) -> ScoreArray:
    batch = at_once(bundle.size)
    with open_engine(bundle, name, precision, batch) as engine:
        parts = [engine.infer(frames[start : start + batch]).score for start in range(0, len(frames), batch)]
    return np.concatenate(parts).astype(np.float64)


@torch.inference_mode()
def _emulate(network: InspectionNetwork, kind: torch.dtype, frames: Frames) -> ScoreArray:
    """Rounds weights and every layer's output to a lower precision and computes in float32 between, as GPUs do."""
    rounded = copy.deepcopy(network)
    for part in (rounded.backbone, rounded.autoencoder, rounded.context):
        for parameter in part.parameters():
            parameter.copy_(parameter.to(kind).float())
        for module in part.modules():
            if isinstance(module, Block) or not list(module.children()):
                module.register_forward_hook(lambda _module, _inputs, output: output.to(kind).float())
    batch = at_once((frames.shape[1], frames.shape[2]))
    parts = [
        rounded(torch.from_numpy(frames[start : start + batch]))[0].numpy() for start in range(0, len(frames), batch)
    ]
    return np.concatenate(parts).astype(np.float64)
