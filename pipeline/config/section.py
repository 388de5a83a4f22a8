"""The base of every table in the line file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the line file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
