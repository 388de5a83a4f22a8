"""What part of a frame is inspected: a mask of what to ignore, and a region of interest outside which all is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engines.bundle import IGNORED
from engines.errors import ConfigError, DataError
from engines.files import save
from engines.image import Image, read_image
from engines.manifest import IgnoredArea
from engines.network import InspectionNetwork, NetworkConfig
from engines.resnet import PIXEL_MEAN_BGR
from engines.tiles import cut_tiles

LEAST_CELLS = 16
_CELL = 8
_WHITE = 127
_ASPECT_TOLERANCE = 0.01

Roi = tuple[int, int, int, int]
Pixels = npt.NDArray[np.bool_]
# Which cells of a flattened map count: all of them, or these.
Places = slice | Tensor


@dataclass(frozen=True)
class InspectedRegion:
    """What part of a frame is inspected.

    Attributes:
        visible: the pixels of the network's input that are inspected, bool `[H, W]`.
        area: the same in words, for the manifest.
    """

    visible: Pixels
    area: IgnoredArea

    def blank(self, frame: Image) -> Image:
        """Returns a copy of a frame, uint8 `[H, W, 3]`, with what is ignored in the colour that the network takes for
        nothing."""
        return np.where(self.visible[..., None], frame, np.rint(PIXEL_MEAN_BGR).astype(np.uint8))


def read_region(
    ignore: Path | None, roi: Roi | None, picture: Path, size: tuple[int, int], ring: int
) -> InspectedRegion | None:
    """Reads what part of a frame is inspected; None where all of it is.

    A pixel of the network's input is ignored if any part of it is, so that nothing ignored reaches the network.

    Args:
        ignore: a picture, white where frames are ignored, with the frames' aspect.
        roi: x, y, width and height in pixels of the frames; all outside is ignored.
        picture: a frame as the camera takes them.
        size: height and width of the network's input.
        ring: cells at the border that do not count in the score.

    Raises:
        DataError: the mask cannot be read, has another aspect, or ignores nothing.
        ConfigError: the region of interest lies outside the frames, or too little is left.
    """
    if ignore is None and roi is None:
        return None
    height, width = read_image(picture).shape[:2]
    ignored = np.zeros((height, width), np.float32)
    if ignore is not None:
        ignored = _read_mask(ignore, (height, width), picture)
    if roi is not None:
        x, y, across, down = roi
        if min(x, y) < 0 or min(across, down) < 1 or x + across > width or y + down > height:
            raise ConfigError(
                f"the region of interest {x},{y},{across},{down} does not lie in the {width} x {height} pixels of "
                f"{picture}; give x,y,width,height within them"
            )
        inside = ignored[y : y + down, x : x + across].copy()
        ignored[:] = 1.0
        ignored[y : y + down, x : x + across] = inside
    visible = cv2.resize(ignored, (size[1], size[0]), interpolation=cv2.INTER_AREA) <= 0
    left = count_cells(visible_cells(visible), ring)
    if left < LEAST_CELLS:
        raise ConfigError(
            f"the mask and the region of interest leave {left} cells of {_CELL} x {_CELL} pixels to inspect, of the "
            f"network's {size[1]} x {size[0]}; leave {LEAST_CELLS} or more"
        )
    name = None if ignore is None else ignore.name
    return InspectedRegion(visible, IgnoredArea(mask=name, roi=roi, share=round(float(1 - visible.mean()), 4)))


def write_region(region: InspectedRegion, folder: Path) -> None:
    """Writes what is ignored into a bundle's folder, as a picture for people: white on black."""
    save(folder / IGNORED, cv2.imencode(".png", np.where(region.visible, 0, 255).astype(np.uint8))[1].tobytes())


def visible_cells(visible: Pixels) -> Pixels:
    """Returns which cells of layer2 see any inspected pixel, bool `[h, w]`."""
    rows, columns = (side // _CELL for side in visible.shape)
    return np.asarray(visible.reshape(rows, _CELL, columns, _CELL).any((1, 3)))


def count_cells(keep: Pixels, ring: int) -> int:
    """Counts the cells within the ring that are inspected."""
    return int(keep[ring : keep.shape[0] - ring, ring : keep.shape[1] - ring].sum())


def count_by_tile(keep: Pixels, config: NetworkConfig) -> int | tuple[int, ...]:
    """Counts the inspected cells that the score is made of; those of each tile where there are several."""
    cut = cut_tiles(config.grid, config.tiles, config.overlap, config.ring)
    counts = tuple(int(keep[tile.top : tile.bottom, tile.left : tile.right].sum()) for tile in cut)
    return counts if len(counts) > 1 else counts[0]


def kept_places(network: InspectionNetwork) -> tuple[Places, Places]:
    """Returns which cells of layer2 and of layer3 count in statistics; one of layer3 does if any under it does."""
    if network.keep is None:
        return slice(None), slice(None)
    fine = network.keep > 0
    rows, columns = fine.shape
    coarse = fine.reshape(rows // 2, 2, columns // 2, 2).any(3).any(1)
    return torch.nonzero(fine.flatten()).flatten(), torch.nonzero(coarse.flatten()).flatten()


def coarse_places(network: InspectionNetwork) -> npt.NDArray[np.int64] | None:
    """Returns which cells of layer3 count; None for all."""
    places = kept_places(network)[1]
    return None if isinstance(places, slice) else places.numpy()


def _read_mask(path: Path, frame: tuple[int, int], picture: Path) -> npt.NDArray[np.float32]:
    image = read_image(path)
    height, width = image.shape[:2]
    if abs(width * frame[0] / (height * frame[1]) - 1) > _ASPECT_TOLERANCE:
        raise DataError(
            f"the mask {path} has {width} x {height} pixels and {picture} has {frame[1]} x {frame[0]}; give a mask of "
            "that size, or at least of that aspect"
        )
    white = (image.max(2) > _WHITE).astype(np.float32)
    if not white.any():
        raise DataError(f"the mask {path} ignores nothing; paint white what is to be ignored")
    own = cv2.resize(white, (frame[1], frame[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(own > 0, np.float32)
