"""What an engine is tuned for."""

from __future__ import annotations

from typing import Literal

# A single batch should be quick, or many together.
Hint = Literal["latency", "throughput"]
