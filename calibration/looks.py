"""Writes into a bundle what good parts look like, for the line's drift watch and for `taktline camera check`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.drift import PRIOR_PARTS
from engines.files import save
from engines.image import Image
from engines.look_meter import measure_looks, reference_files
from engines.looks import Looks

MOST_MEASURED = 100


def write_looks(
    folder: Path, frames: Sequence[Image], visible: npt.NDArray[np.bool_] | None, before: Looks | None = None
) -> Looks:
    """Measures what good parts look like, and writes the pictures that show it into a bundle's folder.

    Args:
        folder: the bundle's folder.
        frames: good parts at the network's input, uint8 BGR `[H, W, 3]`; two or more.
        visible: which pixels count, bool `[H, W]`; None for all.
        before: what good parts looked like when the bundle was made. Where parts lie now is measured anew; how far they
            spread is shrunk towards this, which counts like 8 parts.

    Returns:
        What the manifest says of them.
    """
    reference = measure_looks(frames, visible)
    for name, data in reference_files(reference).items():
        save(folder / name, data)
    looks = reference.looks
    if before is None:
        return looks
    count = len(frames) - 1
    traits = {}
    for name, trait in looks.traits.items():
        old = before.traits.get(name, trait)
        variance = (PRIOR_PARTS * old.spread**2 + count * trait.spread**2) / (PRIOR_PARTS + count)
        traits[name] = trait.model_copy(update={"spread": math.sqrt(variance)})
    return looks.model_copy(update={"traits": traits})


def some_of(count: int) -> list[int]:
    """Returns which of so many pictures are measured: at most a hundred, evenly spread."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, MOST_MEASURED))})
