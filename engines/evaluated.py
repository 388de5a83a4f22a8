"""How good a bundle was found to be on labelled parts: a part of its manifest."""

from __future__ import annotations

from pydantic import Field

from engines.manifest_part import Part


class DefectsFound(Part):
    """How many parts with one kind of defect were rejected.

    Attributes:
        found: parts rejected.
        parts: all parts with this defect.
    """

    found: int = Field(ge=0)
    parts: int = Field(ge=1)


class Evaluated(Part):
    """What an evaluation on labelled parts showed, at the bundle's threshold.

    Attributes:
        data: name of the data set.
        evaluated_at: when, UTC.
        engine: engine and precision.
        threshold: in sigma.
        good: number of good parts.
        defective: number of defective parts.
        false_alarms: good parts rejected.
        misses: defective parts accepted.
        accuracy: share of parts judged correctly.
        precision: share of rejected parts that are defective; None if nothing was rejected.
        recall: share of defective parts that were rejected; None without defective parts.
        f1: harmonic mean of both; None if there is nothing to divide by.
        auroc: area under the ROC curve of the scores; None with one kind of part.
        auroc_interval: its 95 % interval; None with one kind of part.
        pixel_auroc: the same for the heatmaps; None without masks.
        defects: what was found of each kind of defect.
    """

    data: str
    evaluated_at: str
    engine: str
    threshold: float
    good: int = Field(ge=0)
    defective: int = Field(ge=0)
    false_alarms: int = Field(ge=0)
    misses: int = Field(ge=0)
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    auroc: float | None
    auroc_interval: tuple[float, float] | None
    pixel_auroc: float | None
    defects: dict[str, DefectsFound]
