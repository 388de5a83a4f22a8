"""What a person says about a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Field

Said = Literal["false alarm", "missed defect", "confirmed"]
LABELS: tuple[Said, ...] = get_args(Said)

MOST_NAME_CHARACTERS = 64
# A reader of the replay takes strings of up to 1024 bytes.
MOST_NOTE_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Label:
    """What a person says about a verdict.

    Attributes:
        label: `false alarm`, `missed defect` or `confirmed`.
        by: who said it.
        at: when, nanoseconds since 1970 (UTC).
        note: why, in their own words; may be empty.
    """

    label: Said
    by: Annotated[str, Field(strict=True, max_length=MOST_NAME_CHARACTERS)]
    at: Annotated[int, Field(strict=True, ge=0, lt=2**63)]
    note: Annotated[str, Field(strict=True, max_length=MOST_NOTE_BYTES)] = ""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Returns the label as plain values."""
        return {"label": self.label, "by": self.by, "at": self.at, "note": self.note}
