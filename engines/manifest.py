"""The manifest of a model bundle: everything about a model except its weights."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engines.threshold_rule import Rule

SCHEMA_VERSION = 4

_MOST_SIGMA = 1000.0
_Gain = Annotated[float, Field(gt=0, le=10)]
_SIDES = range(32, 4096 + 1, 16)


class Part(BaseModel):
    """A validated part of the manifest. Its numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Threshold(Part):
    """When a part counts as defective: its score, in sigma, is above `value`.

    Attributes:
        value: the threshold in sigma units.
        rule: how it was chosen.
        parameter: the rule's parameter: standard deviations, or a false-alarm rate.
        samples: held-out good parts that the promised false alarms are based on.
        tuned_on_defects: whether defective parts influenced it.
        false_alarms_per_1000: good parts in a thousand that are expected to be rejected.
        interval_per_1000: 99 % prediction interval of that share among the next 100 good parts.
        warning: what the number of samples cannot support, or None.
    """

    value: float = Field(ge=-_MOST_SIGMA, le=_MOST_SIGMA)
    rule: Rule
    parameter: float | None
    samples: int = Field(ge=1)
    tuned_on_defects: bool
    false_alarms_per_1000: float
    interval_per_1000: tuple[float, float]
    warning: str | None


class Heatmap(Part):
    """The heatmap's grid and its fixed scale.

    Attributes:
        grid: rows and columns.
        full_scale: sigma value that is drawn in the hottest colour and sent as 255; 0 and below is sent as 0.
        threshold: sigma value above which a cell belongs to a region.
    """

    grid: tuple[int, int]
    full_scale: float = Field(gt=0)
    threshold: float


class Statistics(Part):
    """Scores of held-out good parts, before and after conversion to sigma units.

    Attributes:
        samples: number of parts.
        mean: mean of the raw score.
        std: standard deviation of the raw score.
        scores: in sigma, ascending; thresholds are chosen from these.
    """

    samples: int = Field(ge=1)
    mean: float
    std: float = Field(gt=0)
    scores: tuple[float, ...]


class Training(Part):
    """How the autoencoder was trained, with its losses per epoch; and why it has its size, if that was measured."""

    normals: int
    seed: int
    epochs: int
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    seconds: float
    size_reason: str | None = None


class BackboneInfo(Part):
    """Where the features come from."""

    source: str
    sha256: str
    pretrained: bool


class Int8(Part):
    """How far the 8-bit model differs from the float32 one on held-out good parts, and whether that was accepted.

    Attributes:
        accepted: whether the bundle holds the model.
        rest: precision of the layers that are not in 8 bits; the processor must support it.
        reason: why the bundle does not hold the model, or None.
        samples: held-out good parts it was measured on.
        shift: root mean square difference of the scores, in sigma.
        largest_shift: the largest difference, in sigma.
        flips: share of verdicts that differ.
        max_shift: the largest accepted `shift`.
        max_flips: the largest accepted `flips`.
        auroc: image AUROC on the labelled test split, or None if there is none.
        exact_auroc: the same for the float32 model.
        max_auroc_drop: the largest accepted difference.
    """

    accepted: bool
    rest: str
    reason: str | None
    samples: int
    shift: float
    largest_shift: float
    flips: float
    max_shift: float
    max_flips: float
    auroc: float | None
    exact_auroc: float | None
    max_auroc_drop: float


class Band(Part):
    """How far the scores of a lower precision are from float32's on held-out good parts.

    Attributes:
        offset: how far the scores lie above float32's on average, in sigma; subtracted before they are compared.
        width: in sigma: a score farther than this from the threshold gives float32's verdict.
        samples: held-out good parts it was measured on.
        std: standard deviation of the difference, in sigma.
        largest: the largest difference after the offset, in sigma.
        share: share of good parts whose score lies within `width` of the threshold.
        measured_with: the engine.
    """

    offset: float
    width: float = Field(gt=0)
    samples: int = Field(ge=1)
    std: float
    largest: float
    share: float
    measured_with: str


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


class Manifest(Part):
    """Everything about a model except its weights.

    Attributes:
        bands: for each precision, how far its scores are from float32's.
        appearance: of the good parts that it was calibrated on; None if an older Taktline did that.
        adapted: how it was adapted after calibration; None if it was not.
    """

    schema_version: int
    category: str
    created_at: str
    network: dict[str, Any]
    backbone: BackboneInfo
    threshold: Threshold
    heatmap: Heatmap
    statistics: Statistics
    training: Training
    int8: Int8 | None
    bands: dict[str, Band]
    appearance: Appearance | None = None
    adapted: Adaptation | None = None
    versions: dict[str, str]
    files: dict[str, str]

    @field_validator("network")
    @classmethod
    def _check_size(cls, network: dict[str, Any]) -> dict[str, Any]:
        # An impossible size would fail much later, in a foreign library.
        size = network.get("size")
        if not isinstance(size, list | tuple) or len(size) != 2 or any(side not in _SIDES for side in size):
            raise ValueError(f"its size is {size!r}, not two multiples of 16 from {_SIDES[0]} to {_SIDES[-1]}")
        return network
