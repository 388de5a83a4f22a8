"""The rules for choosing a threshold."""

from __future__ import annotations

from typing import Literal

Rule = Literal["sigma", "false-alarm-rate", "f1", "cost"]

# Rules that look at labelled parts, defective ones among them.
LABELLED_RULES: frozenset[Rule] = frozenset({"f1", "cost"})
