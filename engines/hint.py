"""What an engine is optimised for."""

from __future__ import annotations

from typing import Literal

# One batch at a time, or many together.
Hint = Literal["latency", "throughput"]
