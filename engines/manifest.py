"""The manifest of a model bundle: everything about a model except its weights."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from engines.adaptation import Adaptation, Appearance
from engines.added import Added
from engines.architecture import ARCHITECTURES
from engines.evaluated import Evaluated
from engines.looks import Looks
from engines.manifest_part import Part
from engines.threshold_rule import Rule

SCHEMA_VERSION = 5
# What version 5 added may be left out, so bundles of version 4 open as they are.
READABLE_VERSIONS = (4, SCHEMA_VERSION)

_MOST_SIGMA = 1000.0
_SIDES = range(32, 4096 + 1, 16)


class ThresholdTail(Part):
    """The tail of held-out good parts' scores that a threshold's false alarms are read from.

    Attributes:
        parts: held-out good parts in the tail.
        base: the score above which it begins, in sigma.
        shape: of the generalised Pareto distribution: below 0 it ends, at 0 it is exponential, above 0 it is heavy.
        interval_per_1000: 95 % interval of the false alarms in a thousand good parts in the long run.
        value_interval: 95 % interval of the score, in sigma, that gives the wanted false-alarm rate in the long run;
            None for other rules.
    """

    parts: int
    base: float
    shape: float
    interval_per_1000: tuple[float, float]
    value_interval: tuple[float, float] | None


class Threshold(Part):
    """When a part counts as defective: its score, in sigma, is above `value`.

    Attributes:
        value: the threshold in sigma units.
        rule: how it was chosen.
        parameter: the rule's parameter: standard deviations, a false-alarm rate, or what a miss costs.
        samples: held-out good parts that the promised false alarms are based on.
        tuned_on_defects: whether defective parts influenced it.
        false_alarms_per_1000: good parts in a thousand that are expected to be rejected.
        interval_per_1000: 99 % prediction interval of that share among the next 100 good parts.
        tail: where the false alarms come from; None if they were counted, or chosen by an older Taktline.
        warning: what the number of samples cannot support, or None.
    """

    value: float = Field(ge=-_MOST_SIGMA, le=_MOST_SIGMA)
    rule: Rule
    parameter: float | None
    samples: int = Field(ge=1)
    tuned_on_defects: bool
    false_alarms_per_1000: float
    interval_per_1000: tuple[float, float]
    tail: ThresholdTail | None = None
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


class RegionThreshold(Part):
    """From where on a region of the heatmap alone makes a part defective, on lines that ask for it.

    Attributes:
        cells: size of the smallest region that counts, in cells of the heatmap.
        value: all of its cells must lie above this, in sigma.
        false_alarms_per_1000: good parts in a thousand that are expected to be rejected by score or region.
        interval_per_1000: 99 % prediction interval of that share among the next 100 good parts.
    """

    cells: int = Field(ge=1)
    value: float
    false_alarms_per_1000: float
    interval_per_1000: tuple[float, float]


class RegionLevels(Part):
    """How high regions of a size reach on the good parts that `Statistics` scores.

    Attributes:
        cells: size of the regions, in cells of the heatmap.
        levels: of each part, in sigma, in the order of their scores.
    """

    cells: int = Field(ge=1)
    levels: tuple[float, ...]


class Statistics(Part):
    """Scores of good parts by networks that did not learn from them, before and after conversion to sigma units.

    Attributes:
        samples: number of parts.
        mean: mean of the raw score.
        std: standard deviation of the raw score.
        scores: in sigma, ascending; thresholds are chosen from these.
        regions: how high regions of their heatmaps reach, by size; empty in bundles of version 4.
    """

    samples: int = Field(ge=1)
    mean: float
    std: float = Field(gt=0)
    scores: tuple[float, ...]
    regions: tuple[RegionLevels, ...] = ()


class OfferedSize(Part):
    """A size of the frames that calibration measured.

    Attributes:
        size: height and width.
        kept: share of the good parts' fine detail that it keeps.
        hairline: whether it shows a line of three of the camera's pixels.
        work_ms: milliseconds that the backbone took for a frame, with PyTorch in float32.
        chosen: whether it was chosen.
    """

    size: tuple[int, int]
    kept: float
    hairline: bool
    work_ms: float
    chosen: bool


class Training(Part):
    """How the autoencoder was trained, with its losses per epoch; why its frames have their size and what others would
    keep and cost, if that was measured; what more pictures of good parts would bring, if they would; and what was added
    to the data set from a line's journal, if anything was.
    """

    normals: int
    seed: int
    epochs: int
    train_loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    seconds: float
    size_reason: str | None = None
    sizes: tuple[OfferedSize, ...] = ()
    more_parts: str | None = None
    added: Added | None = None


class BackboneInfo(Part):
    """Where the features come from."""

    source: str
    sha256: str
    pretrained: bool


class IgnoredArea(Part):
    """What part of every frame is ignored.

    Attributes:
        mask: name of the picture that was white there, or None.
        roi: x, y, width and height outside which all is ignored, in pixels of the calibration's pictures, or None.
        share: share of the network's input that is ignored.
    """

    mask: str | None
    roi: tuple[int, int, int, int] | None
    share: float


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


class Manifest(Part):
    """Everything about a model except its weights.

    Attributes:
        bands: for each precision, how far its scores are from float32's.
        regions: from where on a region alone makes a part defective, by size; empty in bundles of version 4.
        evaluated: how good it was found to be on labelled parts; None if nobody asked to keep that.
        ignored: what part of every frame is ignored, or None.
        appearance: of the good parts that it was calibrated on; None if an older Taktline did that.
        looks: of good parts, as they are inspected: at calibration, or since it was adapted; None if an older Taktline
            did that.
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
    regions: tuple[RegionThreshold, ...] = ()
    evaluated: Evaluated | None = None
    ignored: IgnoredArea | None = None
    appearance: Appearance | None = None
    looks: Looks | None = None
    adapted: Adaptation | None = None
    versions: dict[str, str]
    files: dict[str, str]

    @field_validator("network")
    @classmethod
    def _check_network(cls, network: dict[str, Any]) -> dict[str, Any]:
        # An impossible size would fail much later, in a foreign library.
        size = network.get("size")
        if not isinstance(size, list | tuple) or len(size) != 2 or any(side not in _SIDES for side in size):
            raise ValueError(f"its size is {size!r}, not two multiples of 16 from {_SIDES[0]} to {_SIDES[-1]}")
        arch = network.get("arch", "resnet50")
        if arch not in ARCHITECTURES:
            raise ValueError(f"its arch is {arch!r}, not one of {', '.join(ARCHITECTURES)}")
        return network
