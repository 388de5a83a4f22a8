"""What a calibration took from a line's journal: a part of the manifest."""

from __future__ import annotations

from pydantic import Field

from engines.manifest_part import Part


class Added(Part):
    """Parts of a line's journal that a calibration took besides its data set.

    Attributes:
        journal: the journal's file name.
        false_alarms: good parts that the line had rejected; to learn from.
        confirmed_good: good parts that it had accepted, as a person says; to learn from.
        unlabelled: parts that it had accepted and about which nobody said anything; to learn from.
        missed_defects: defective parts that it had accepted; to check with.
        confirmed_defects: defective parts that it had rejected; to check with.
        found_missed: how many of the missed defects the new bundle finds.
        found_confirmed: how many of the confirmed ones.
    """

    journal: str
    false_alarms: int = Field(ge=0)
    confirmed_good: int = Field(ge=0)
    unlabelled: int = Field(ge=0)
    missed_defects: int = Field(ge=0)
    confirmed_defects: int = Field(ge=0)
    found_missed: int = Field(default=0, ge=0)
    found_confirmed: int = Field(default=0, ge=0)
