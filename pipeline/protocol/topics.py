"""Names on the wire: what lines and cameras may be called, and the topic a verdict is published under."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

TOPIC = "verdict."

EpochId = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
