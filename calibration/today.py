"""What good parts of today look like to a bundle: in which light, with which scores and heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.light import Gains, better_gains, brings_closer, find_gains
from calibration.progress import Reporter
from engines.adaptation import Appearance
from engines.bundle import Bundle
from engines.engine import EXACT, Engine, Frames
from engines.errors import TaktlineError
from engines.image import Image, multiply, read_image, resize_frame
from engines.registry import engine_class, open_engine

_BATCH = 8
# How many parts a search for the light looks at.
_SEARCHED = 16
_AS_IT_IS: Gains = (1.0, 1.0, 1.0)

Values = npt.NDArray[np.float64]
Heat = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Today:
    """What today's parts look like to a bundle.

    Attributes:
        before: scores in float32 as the bundle gives them today, `[n]`.
        gains: what brings frames back to the light of calibration; scores and heatmaps below are those of such frames.
        scores: in float32, `[n]`.
        heat: heatmaps in float32, `[n, h, w]`.
        lower: scores in lower precisions, each `[n]`.
    """

    before: Values
    gains: Gains | None
    scores: Values
    heat: Heat
    lower: dict[str, Values]

    def only(self, wanted: npt.NDArray[np.bool_]) -> Today:
        """Returns the same of some of the parts, bool `[n]`."""
        lower = {precision: scores[wanted] for precision, scores in self.lower.items()}
        return Today(self.before[wanted], self.gains, self.scores[wanted], self.heat[wanted], lower)


def read_parts(bundle: Bundle, paths: Sequence[Path]) -> list[Image]:
    """Reads pictures at the size of a bundle's network.

    Raises:
        DataError: one cannot be read.
    """
    return [resize_frame(read_image(path), bundle.size) for path in paths]


def look_at(bundle: Bundle, appearance: Appearance | None, images: list[Image], report: Reporter) -> Today:
    """Measures what parts look like to a bundle, in the light that brings them closest to where good parts lay.

    Args:
        bundle: the bundle.
        appearance: of good parts at calibration; None if nobody knows.
        images: uint8 `[H, W, 3]`, at the network's size.
        report: told how far it is.
    """
    frames = np.stack(images)
    before = bundle.manifest.adapted
    own = None if before is None else before.gains
    if before is not None:
        # The frames below are multiplied already.
        plain = bundle.manifest.model_copy(update={"adapted": before.model_copy(update={"gains": None})})
        bundle = replace(bundle, manifest=plain)
    lower = _offered(bundle)
    with open_engine(bundle, precision=EXACT, max_batch=_BATCH, measure=False) as engine:
        first = _score(engine, frames, own, report)
        gains, scores, heat = own, *first
        offers = None if appearance is None else find_gains(appearance, images)
        if offers is not None and set(offers) != {own or _AS_IT_IS}:
            picks = np.linspace(0, len(frames) - 1, min(len(frames), _SEARCHED)).round().astype(np.int64)
            offer = better_gains(offers, lambda gains: _score(engine, frames[picks], gains, report)[0])
            offered = _score(engine, frames, offer, report)
            if brings_closer(scores, offered[0]):
                gains, scores, heat = None if offer == _AS_IT_IS else offer, *offered
    others = {}
    for precision in lower:
        with open_engine(bundle, "openvino", precision, _BATCH) as engine:
            others[precision] = _score(engine, frames, gains, report)[0]
    return Today(first[0], gains, scores, heat, others)


def _score(engine: Engine, frames: Frames, gains: Gains | None, report: Reporter) -> tuple[Values, Heat]:
    scores, heat = [], []
    lit = frames if gains is None else multiply(frames, gains)
    for start in range(0, len(lit), engine.max_batch):
        found = engine.infer(lit[start : start + engine.max_batch])
        scores.append(found.score)
        heat.append(found.heatmap)
        report(f"scoring {engine.precision}", min(start + engine.max_batch, len(lit)), len(lit))
    return np.concatenate(scores).astype(np.float64), np.concatenate(heat)


def _offered(bundle: Bundle) -> list[str]:
    """Lists the precisions below float32 whose bands can be checked here."""
    openvino = engine_class("openvino")
    try:
        device = openvino.devices()[0]
    except TaktlineError:
        return []
    return [name for name in openvino.precisions_for(bundle, device) if name != EXACT and name in bundle.manifest.bands]
