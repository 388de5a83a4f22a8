"""How many frames are computed at once."""

from __future__ import annotations

USUAL_PIXELS = 224 * 224
_BATCH = 8


def at_once(size: tuple[int, int], most: int = _BATCH) -> int:
    """Returns how many frames of a size are computed at once: of larger ones fewer, so that memory stays the same."""
    return max(1, min(most, most * USUAL_PIXELS // (size[0] * size[1])))
