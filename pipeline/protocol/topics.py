"""Names on the wire: what lines and cameras may be called, and the topic a verdict is published under."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

TOPIC = "verdict."

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
