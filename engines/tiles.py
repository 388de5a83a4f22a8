"""Tiles: a large map cut into overlapping parts, so that what is small beside the whole still counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

OVERLAP_PX = 32
# A cell of layer2, which maps are made of.
_CELL_PX = 8


@dataclass(frozen=True)
class Tile:
    """A part of a map: its rows from `top` to before `bottom`, and its columns from `left` to before `right`.

    Attributes:
        counted: how many of its cells count.
    """

    top: int
    bottom: int
    left: int
    right: int
    counted: int


def cut_tiles(
    grid: tuple[int, int],
    tiles: tuple[int, int],
    overlap: int,
    ring: int,
    inspected: int | tuple[int, ...] | None = None,
) -> list[Tile]:
    """Cuts a map into overlapping tiles of equal size, row by row, without the ring at the map's border.

    Args:
        grid: the map's rows and columns.
        tiles: how many tiles lie below and beside each other.
        overlap: pixels that neighbours share at the least.
        ring: cells at the border that no tile has.
        inspected: how many cells of the only tile, or of each, count; None for all. A tile with none is left out.
    """
    bounds = [_bounds(side, count, overlap // _CELL_PX, ring) for side, count in zip(grid, tiles, strict=True)]
    areas = [(*down, *across) for down in bounds[0] for across in bounds[1]]
    if inspected is None:
        counts = [(bottom - top) * (right - left) for top, bottom, left, right in areas]
    else:
        counts = [inspected] if isinstance(inspected, int) else list(inspected)
    return [Tile(*area, count) for area, count in zip(areas, counts, strict=True) if count]


def covered(tile: int, count: int, overlap: int) -> int:
    """Returns how long a row of overlapping tiles is, in pixels."""
    return count * tile - (count - 1) * overlap


def tiles_over(side: int, tile: int, overlap: int) -> int:
    """Returns how many tiles, none longer than asked for, cover a side in pixels."""
    return max(1, math.ceil((side - overlap) / (tile - overlap)))


def _bounds(side: int, count: int, overlap: int, ring: int) -> list[tuple[int, int]]:
    """Returns first and last cell of tiles, evenly spread."""
    length = math.ceil((side + (count - 1) * overlap) / count)
    starts = [round(index * (side - length) / max(1, count - 1)) for index in range(count)]
    return [(max(ring, start), min(side - ring, start + length)) for start in starts]
