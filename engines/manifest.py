"""What the manifest of a model bundle says: everything about a model but its weights."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engines.threshold_rule import Rule

SCHEMA_VERSION = 4

_MOST_SIGMA = 1000.0
_SIDES = range(32, 4096 + 1, 16)


class Part(BaseModel):
    """A checked piece of the manifest. Its numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Threshold(Part):
    """When a part counts as defective: its score, in sigma, is above `value`.

    Attributes:
        value: the threshold in sigma units.
        rule: how it was chosen.
        parameter: what the rule was given: standard deviations, or a false-alarm rate.
        samples: held-out good parts that the promised false alarms rest on.
        tuned_on_defects: whether defective parts had a say.
        false_alarms_per_1000: good parts in a thousand that are expected to be rejected.
        interval_per_1000: 99 % interval of that.
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
        full_scale: sigma value that is drawn as the hottest colour and sent as 255; 0 and below is sent as 0.
        threshold: sigma value above which a cell belongs to a region.
    """

    grid: tuple[int, int]
    full_scale: float = Field(gt=0)
    threshold: float


class Statistics(Part):
    """Scores of held-out good parts before they were brought to sigma units, and after.

    Attributes:
        samples: how many.
        mean: mean of the raw score.
        std: standard deviation of the raw score.
        scores: in sigma, ascending: what thresholds are chosen on.
    """

    samples: int = Field(ge=1)
    mean: float
    std: float = Field(gt=0)
    scores: tuple[float, ...]


class Training(Part):
    """What the autoencoder was trained with and how its losses went, an entry an epoch."""

    normals: int
    seed: int
    epochs: int
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    seconds: float


class BackboneInfo(Part):
    """Where the features come from."""

    source: str
    sha256: str
    pretrained: bool


class Int8(Part):
    """How far the 8-bit model drifts from the float32 one on held-out good parts, and whether that was accepted.

    Attributes:
        accepted: whether the bundle holds the model.
        rest: precision of the layers that are not in 8 bits; the processor must have it.
        reason: why it does not, or None.
        samples: held-out good parts it was measured on.
        shift: root mean square difference of the scores, in sigma.
        largest_shift: the largest difference, in sigma.
        flips: share of verdicts that differ.
        max_shift: the most that is accepted of `shift`.
        max_flips: the most that is accepted of `flips`.
        auroc: image AUROC on the labelled test split, or None where there is none.
        exact_auroc: the same of the float32 model.
        max_auroc_drop: the most that is accepted of the difference.
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
    """How far the scores of a lower precision lie from float32's on held-out good parts.

    Attributes:
        offset: what the scores lie above float32's in the middle, in sigma; it is taken off before the look.
        width: in sigma: a score farther than this from the threshold has float32's verdict.
        samples: held-out good parts it was measured on.
        std: standard deviation of the difference, in sigma.
        largest: the largest difference after the offset, in sigma.
        share: of good parts whose score lies within `width` of the threshold.
        measured_with: the engine.
    """

    offset: float
    width: float = Field(gt=0)
    samples: int = Field(ge=1)
    std: float
    largest: float
    share: float
    measured_with: str


class Manifest(Part):
    """Everything about a model but its weights.

    Attributes:
        bands: by precision: how far its scores lie from float32's.
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
    versions: dict[str, str]
    files: dict[str, str]

    @field_validator("network")
    @classmethod
    def _check_size(cls, network: dict[str, Any]) -> dict[str, Any]:
        # A size that nothing can hold would fail much later, in a foreign library.
        size = network.get("size")
        if not isinstance(size, list | tuple) or len(size) != 2 or any(side not in _SIDES for side in size):
            raise ValueError(f"its size is {size!r}, not two multiples of 16 from {_SIDES[0]} to {_SIDES[-1]}")
        return network
