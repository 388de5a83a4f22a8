"""The form in which frames reach a measured line."""

from __future__ import annotations

from typing import Literal

Decode = Literal["memory", "raw", "jpeg", "png"]
