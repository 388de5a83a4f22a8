"""How frames reach a line that is measured."""

from __future__ import annotations

from typing import Literal

Decode = Literal["memory", "raw", "jpeg", "png"]
