"""The rules for choosing a threshold."""

from __future__ import annotations

from typing import Literal

Rule = Literal["sigma", "false-alarm-rate", "f1"]
