"""Features of normal parts, computed once and kept in a temporary file during calibration."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from calibration.batch import USUAL_PIXELS, at_once
from calibration.export import export_onnx
from calibration.progress import Reporter
from engines.errors import TaktlineError
from engines.extras import require
from engines.image import Image
from engines.resnet import Backbone

_READ = 16
MAX_CACHE_BYTES = 6 << 30
# Of so few, OpenVINO does not win back the seconds that its model takes to write and to compile.
FEW_PIXELS = 200 * USUAL_PIXELS

Runner = Callable[[npt.NDArray[np.uint8]], tuple[Tensor, Tensor]]


def cache_capacity(size: tuple[int, int], channels: tuple[int, int]) -> int:
    """Returns how many images of a size the cache can hold, given the channels of layer2 and layer3."""
    return MAX_CACHE_BYTES // (size[0] // 16 * (size[1] // 16) * (4 * channels[0] + channels[1]) * 2)


def layer2_channels(cell: int) -> int:
    """Returns how many of a cell's channels are layer2's, at each of four places; layer3 has twice as many."""
    return cell // 6


class FeatureCache:
    """Feature maps of images, stored by layer3 cell: the four layer2 vectors under it, then its layer3 vector.

    Args:
        kept: which cells count; None for all.
        memory: the mapped file behind `cells`, if there is one.

    Attributes:
        cells: float16 `[N, h * w, C]` in a temporary file.
        grid: rows and columns of layer3.
        kept: which of an image's cells are not ignored, ascending.
    """

    def __init__(
        self,
        cells: npt.NDArray[np.float16],
        grid: tuple[int, int],
        kept: npt.NDArray[np.int64] | None = None,
        memory: mmap.mmap | None = None,
    ) -> None:
        self.cells, self.grid, self._memory = cells, grid, memory
        self.kept = np.arange(grid[0] * grid[1]) if kept is None else kept

    def __len__(self) -> int:
        return len(self.cells)

    def at_once(self, most: int) -> int:
        """Returns how many images are read at once, so that their size makes no difference to memory."""
        return at_once((16 * self.grid[0], 16 * self.grid[1]), most)

    def maps(self, indices: npt.NDArray[np.int64]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields layer2 `[n, c, 2h, 2w]` and layer3 `[n, 2c, h, w]`, float32, of some images in batches."""
        batch = self.at_once(_READ)
        for start in range(0, len(indices), batch):
            rows = torch.from_numpy(self.cells[np.sort(indices[start : start + batch])]).float()
            yield from_cells(rows, self.grid)
        self.release()

    def cells_of(self, images: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        """Returns the cells of some images that are not ignored, `[n, kept, C]`."""
        whole = len(self.kept) == self.cells.shape[1]
        return self.cells[images] if whole else self.cells[np.ix_(images, self.kept)]

    def draw(self, images: npt.NDArray[np.int64], count: int, generator: torch.Generator) -> Tensor:
        """Draws cells at random over some images, with replacement, `[count, C]`."""
        per_image = len(self.kept)
        picks = torch.randint(len(images) * per_image, (count,), generator=generator).numpy()
        flat = self.cells.reshape(-1, self.cells.shape[2])
        return torch.from_numpy(flat[images[picks // per_image] * self.cells.shape[1] + self.kept[picks % per_image]])

    def release(self) -> None:
        """Frees the memory of pages that were read; they stay in the file, and mostly in the system's cache."""
        if self._memory is not None:
            self._memory.madvise(mmap.MADV_DONTNEED)


@contextmanager
def extract_features(
    backbone: Backbone | Runner,
    frames: Iterable[Image],
    count: int,
    size: tuple[int, int],
    report: Reporter,
    kept: npt.NDArray[np.int64] | None = None,
) -> Iterator[FeatureCache]:
    """Computes the features of `count` frames and keeps them in a temporary file during the block.

    They are computed in float32 by the fastest engine at hand: torch on a GPU or for few frames, else OpenVINO, else
    torch.

    Args:
        backbone: the folded backbone, or a function that computes layer2 and layer3 in its place.
        frames: uint8 `[H, W, 3]` each.
        count: number of frames.
        size: height and width of the frames.
        report: called with the progress.
        kept: which cells of layer3 count; None for all.
    """
    grid = (size[0] // 16, size[1] // 16)
    # The cells' file has no name, so not even a killed calibration leaves its gigabytes behind.
    with tempfile.TemporaryDirectory(prefix="taktline-features-") as folder, tempfile.TemporaryFile() as file:
        few = count * size[0] * size[1] <= FEW_PIXELS
        run = _runner(backbone, size, Path(folder), few) if isinstance(backbone, Backbone) else backbone
        done = 0
        for chunk in _chunks(frames, at_once(size)):
            layer2, layer3 = run(np.stack(chunk))
            file.write(to_cells(layer2, layer3).half().numpy().data)
            done += len(chunk)
            report("features", done, count)
        file.flush()
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        cells = np.frombuffer(memory, np.float16).reshape(done, grid[0] * grid[1], -1)
        yield FeatureCache(cells, grid, kept, memory)


def to_cells(layer2: Tensor, layer3: Tensor) -> Tensor:
    """Converts feature maps to cells `[N, h * w, C]`."""
    count, _, rows, columns = layer3.shape
    channels = layer2.shape[1]
    under = layer2.reshape(count, channels, rows, 2, columns, 2).permute(0, 2, 4, 3, 5, 1)
    under = under.reshape(count, rows * columns, 4 * channels)
    return torch.cat([under, layer3.flatten(2).transpose(1, 2)], 2)


def from_cells(cells: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Converts cells `[N, h * w, C]` back to feature maps."""
    rows, columns = grid
    channels = layer2_channels(cells.shape[-1])
    under = cells[..., : 4 * channels].reshape(-1, rows, columns, 2, 2, channels)
    layer2 = under.permute(0, 5, 1, 3, 2, 4).reshape(-1, channels, 2 * rows, 2 * columns)
    layer3 = cells[..., 4 * channels :].transpose(1, 2).reshape(-1, 2 * channels, rows, columns)
    return layer2.contiguous(), layer3.contiguous()


def _chunks(frames: Iterable[Image], batch: int) -> Iterator[list[Image]]:
    chunk: list[Image] = []
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == batch:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _runner(backbone: Backbone, size: tuple[int, int], folder: Path, few: bool) -> Runner:
    if torch.cuda.is_available():
        return _torch_runner(backbone, torch.device("cuda"))
    if few:
        return _torch_runner(backbone, torch.device("cpu"))
    try:
        openvino = require("openvino", "")
    except TaktlineError:
        return _torch_runner(backbone, torch.device("cpu"))
    model = folder / "backbone.onnx"
    export_onnx(backbone, size, model, ("layer2", "layer3"))
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled: Any = openvino.Core().compile_model(str(model), "CPU", config)

    def run(frames: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        result = compiled(frames)
        return torch.from_numpy(result["layer2"]), torch.from_numpy(result["layer3"])

    return run


def _torch_runner(backbone: Backbone, device: torch.device) -> Runner:
    model = backbone.to(device).to(memory_format=torch.channels_last)

    def run(frames: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            layer2, layer3 = model(torch.from_numpy(frames).to(device))
        return layer2.cpu(), layer3.cpu()

    return run
