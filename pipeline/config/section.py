"""What every table of the line file has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the line file; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
