"""What every table of the line file has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class Section(BaseModel):
    """A table of the line file; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
