"""How a bundle was adapted after calibration: a part of its manifest."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from engines.manifest_part import Part

_Gain = Annotated[float, Field(gt=0, le=10)]


class Appearance(Part):
    """How bright good parts are, in each channel (BGR), at the network's input.

    Attributes:
        brightness: geometric mean over parts of a channel's mean, from 1 to 255.
        spread: standard deviation over parts of the logarithm of that.
        samples: number of parts.
    """

    brightness: tuple[float, float, float]
    spread: tuple[float, float, float]
    samples: int = Field(ge=1)


class Units(Part):
    """The sigma units of good parts, told in those of another set of good parts.

    Attributes:
        mean: their mean in the other units.
        std: their standard deviation in the other units.
    """

    mean: float
    std: float = Field(gt=0)

    def after(self, other: Units) -> Units:
        """Returns these units, which are told in `other`, in what `other` itself is told in."""
        return Units(mean=other.mean + other.std * self.mean, std=other.std * self.std)


class Adaptation(Part):
    """How a bundle was adapted to good parts as they look now. Its network is the one that was calibrated.

    Attributes:
        score: sigma units of the parts adapted to, in those that the network's scores have.
        heatmap: the same of the heatmap's cells.
        gains: what a frame's channels (BGR) are multiplied by before the network sees it; None to leave them.
        sources: sha256 of the bundles that it comes from, the calibrated one first.
        adapted_at: when.
        samples: good parts that were used.
        left_out: pictures that looked defective and were not used.
        found: mean and standard deviation of the parts' scores with these gains, in units of the last source.
        kept: what was taken of them after shrinking towards the last source, in the same units.
        rejected_before: share of the parts used that the last source rejects.
        old_scores: scores of good parts that the last source was made with, in its units, ascending.
        new_scores: scores that the last source gives the parts used, in the same units, ascending.
        warnings: what the parts cannot support, a sentence each.
    """

    score: Units
    heatmap: Units
    gains: tuple[_Gain, _Gain, _Gain] | None
    sources: tuple[str, ...] = Field(min_length=1)
    adapted_at: str
    samples: int = Field(ge=1)
    left_out: tuple[str, ...]
    found: Units
    kept: Units
    rejected_before: float
    old_scores: tuple[float, ...]
    new_scores: tuple[float, ...]
    warnings: tuple[str, ...]
