"""What every engine does: take uint8 frames, give scores and heatmaps, several batches in flight."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.bundle import Bundle
from engines.closing import Closing
from engines.errors import ConfigError, EngineError

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Scores:
    """What a network says of a batch, in sigma units of held-out good parts.

    Attributes:
        score: float32 `[N]`.
        heatmap: float32 `[N, h, w]`.
    """

    score: npt.NDArray[np.float32]
    heatmap: npt.NDArray[np.float32]


class Engine(Closing):
    """Runs a bundle's network. A context manager: leaving it closes the engine.

    Public methods check once; the engines' own `_submit` and `_close` only work.

    Attributes:
        name: the engine's name, as on the command line.
        device: what it runs on, in words.
        precision: `f32`, `bf16`, `f16` or `int8`.
        max_batch: the most frames in one batch.
        size: height and width of a frame in pixels.
        jobs: batches that may be in flight at once.
    """

    name: str
    jobs: int = 2

    def __init__(self, bundle: Bundle, precision: str | None, max_batch: int) -> None:
        if max_batch < 1:
            raise ConfigError(f"max_batch is {max_batch}; give 1 or more")
        offered = self.precisions_for(bundle)
        self.precision = precision or offered[0]
        if self.precision not in offered:
            raise ConfigError(f"the engine {self.name} offers {' and '.join(offered)} here, not {precision}")
        self.size = bundle.size
        self.max_batch = max_batch
        self.device = "cpu"
        self._closed = False

    @classmethod
    @abstractmethod
    def precisions(cls) -> tuple[str, ...]:
        """Lists the precisions that it offers on this machine, the preferred one first.

        Raises:
            EngineUnavailable: it cannot run here at all; the text says why.
        """

    @classmethod
    def precisions_for(cls, bundle: Bundle) -> tuple[str, ...]:
        """Lists the precisions that it offers for a bundle; some need a model of their own."""
        del bundle
        return cls.precisions()

    def submit(self, frames: Frames) -> Future[Scores]:
        """Starts scoring a batch; waits only while `jobs` batches are in flight already.

        Args:
            frames: uint8 `[N, H, W, 3]`, BGR, 1 <= N <= max_batch; it must not change before the result is there.

        Raises:
            EngineError: wrong shape or type, or the engine is closed.
        """
        if self._closed:
            raise EngineError(f"the engine {self.name} is closed; open it again with open_engine")
        height, width = self.size
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (height, width, 3):
            raise EngineError(
                f"the engine {self.name} takes uint8 [N, {height}, {width}, 3] and was given "
                f"{frames.dtype} {list(frames.shape)}; resize frames with engines.image.resize_frame"
            )
        if not 1 <= len(frames) <= self.max_batch:
            raise EngineError(
                f"the engine {self.name} takes 1 to {self.max_batch} frames a batch and was given "
                f"{len(frames)}; open it with a larger max_batch"
            )
        return self._submit(np.ascontiguousarray(frames))

    def infer(self, frames: Frames) -> Scores:
        """Scores a batch and waits for the result; see `submit`."""
        return self.submit(frames).result()

    def warm_up(self) -> None:
        """Runs every batch size once, so that no real frame pays for it."""
        height, width = self.size
        for count in range(1, self.max_batch + 1):
            self.infer(np.zeros((count, height, width, 3), np.uint8))

    def close(self) -> None:
        """Waits for the batches in flight and frees what the engine holds; twice is once."""
        if not self._closed:
            self._closed = True
            self._close()

    @abstractmethod
    def _submit(self, frames: Frames) -> Future[Scores]: ...

    @abstractmethod
    def _close(self) -> None: ...
