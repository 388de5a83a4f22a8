"""A frame on its way out of the line, with its verdict."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.flow.frame import Frame
from pipeline.protocol.verdict import Heatmap, Verdict

SigmaMap = npt.NDArray[np.float32]


@dataclass(slots=True)
class Decided:
    """A frame with its verdict.

    Attributes:
        frame: the frame.
        verdict: the line's verdict; its `latency.publish` is still 0.
        sigma: heatmap in sigma units, `[h, w]`, or None if the frame was not inspected.
        heatmap: the heatmap to send, if any.
        decided: when the verdict was reached, monotonic nanoseconds.
    """

    frame: Frame
    verdict: Verdict
    sigma: SigmaMap | None
    heatmap: Heatmap | None
    decided: int
