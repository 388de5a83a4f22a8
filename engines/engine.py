"""What every engine does: score batches of uint8 frames, several of them in flight."""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.bundle import Bundle
from engines.choice import Choice
from engines.closing import Closing
from engines.errors import ConfigError, EngineError, EngineUnavailable
from engines.foreign import translated
from engines.hint import Hint

log = logging.getLogger(__name__)

Frames = npt.NDArray[np.uint8]
EXACT = "f32"
CLOSE_S = 10.0
_TIMING_NS = 1_000_000_000


@dataclass(frozen=True)
class EngineSettings:
    """How an engine should run.

    Attributes:
        precision: `f32`, `bf16`, `f16` or `int8`; None for the engine's preferred one.
        max_batch: the most frames in one batch.
        device: what to run on, such as `cpu`, `gpu`, `npu` or `cuda`; None for the engine's preferred one.
        hint: whether to optimise for a single batch or for many together.
        only_full: whether every batch will have `max_batch` frames; no other size is then warmed up, and none is timed.
    """

    precision: str | None = None
    max_batch: int = 16
    device: str | None = None
    hint: Hint = "latency"
    only_full: bool = False


@dataclass(frozen=True)
class Timing:
    """How an engine spent its time on a batch, in nanoseconds.

    Attributes:
        copy_in: copying the frames to the device.
        compute: computing.
        copy_out: copying the results back.
    """

    copy_in: int
    compute: int
    copy_out: int


@dataclass(frozen=True)
class Scores:
    """A network's scores for a batch, in sigma units of held-out good parts.

    Attributes:
        score: float32 `[N]`.
        heatmap: float32 `[N, h, w]`.
        exact: whether float32 is certain to give the same verdict, bool `[N]`.
        rescored: whether the score is float32's after a second look, bool `[N]`.
        threshold: in sigma: the threshold near which a second look was taken. `exact` holds for it alone; None if
            `exact` holds for any.
        timing: where the time went; None where the engine cannot tell.
        engine: name of the engine that computed them, where another one may have taken its place meanwhile.
        precision: its precision, likewise.
    """

    score: npt.NDArray[np.float32]
    heatmap: npt.NDArray[np.float32]
    exact: npt.NDArray[np.bool_]
    rescored: npt.NDArray[np.bool_]
    threshold: float | None = None
    timing: Timing | None = None
    engine: str | None = None
    precision: str | None = None


class Engine(Closing):
    """Scores frames. A context manager: leaving it closes the engine.

    Public methods check their arguments once, so subclasses' `_submit` and `_close` need not.

    Attributes:
        name: the engine's name, as on the command line.
        device: the device it was opened on, as on the command line.
        device_name: the device in words.
        precision: `f32`, `bf16`, `f16` or `int8`.
        max_batch: the most frames in one batch.
        size: height and width of a frame in pixels.
        jobs: batches that may be in flight at once.
        batch_ns: nanoseconds that batches of some sizes took during warm-up, by size; empty if none were timed.
        choice: why `auto` chose it, or None if it was named.
    """

    name: str
    choice: Choice | None = None
    jobs: int = 2

    def __init__(self, size: tuple[int, int], precision: str, max_batch: int, device: str) -> None:
        self.size, self.precision, self.max_batch, self.device = size, precision, max_batch, device
        self.device_name = device
        self.batch_ns: dict[int, int] = {}
        self._closed = self._only_full = False

    def submit(self, frames: Frames, until: int | None = None) -> Future[Scores]:
        """Starts scoring a batch; waits only while `jobs` batches are already in flight.

        Args:
            frames: uint8 `[N, H, W, 3]`, BGR, 1 <= N <= max_batch; do not change it before the result is there.
            until: monotonic nanoseconds by which the result is wanted; a second look that would take longer is
                skipped. None for no limit.

        Raises:
            EngineError: the shape or type is wrong, the engine is closed, or its library refuses the batch.
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
        with translated(f"the engine {self.name} failed on a batch"):
            return self._submit(self._prepare(np.ascontiguousarray(frames)), until)

    def infer(self, frames: Frames) -> Scores:
        """Scores a batch and waits for the result; see `submit`."""
        return self.submit(frames).result()

    def set_threshold(self, threshold: float) -> None:
        """Moves the threshold near which a second look is taken, in sigma; engines without second looks ignore it."""

    def warm_up(self) -> None:
        """Runs every batch size once, so that no real frame pays for it, and times them.

        Powers of two and the largest are timed in any case, the others where all of it takes no more than a second.
        """
        frames = np.zeros((self.max_batch, *self.size, 3), np.uint8)
        if self._only_full:
            self.infer(frames)
            return
        for count in range(1, self.max_batch + 1):
            self.infer(frames[:count])
        first = sorted({1 << power for power in range(self.max_batch.bit_length())} | {self.max_batch})
        left = _TIMING_NS
        for count in [*first, *(size for size in range(1, self.max_batch) if size not in first)]:
            if count in first or left > 0:
                started = time.monotonic_ns()
                self.infer(frames[:count])
                self.batch_ns[count] = time.monotonic_ns() - started
                left -= self.batch_ns[count]

    def close(self, deadline: float | None = None) -> None:
        """Waits for the batches in flight and frees what the engine holds; closing twice is safe.

        Args:
            deadline: seconds after which a hanging engine is abandoned; None for 10.
        """
        if self._closed:
            return
        self._closed = True
        limit = CLOSE_S if deadline is None else deadline
        closer = threading.Thread(target=self._close_quietly, name=f"close {self.name}", daemon=True)
        try:
            closer.start()
        except RuntimeError:
            # The machine has no thread left, so nobody can wait for only so long.
            self._close_quietly()
            return
        closer.join(limit)
        if closer.is_alive():
            log.error("the engine %s did not close within %g s; it is abandoned", self.name, limit)

    def _close_quietly(self) -> None:
        try:
            self._close()
        except Exception as error:  # noqa: BLE001 - whatever its library raises, nothing is left to save
            log.warning("the engine %s did not close cleanly: %s", self.name, error)

    def _prepare(self, frames: Frames) -> Frames:
        """Returns frames as the network wants them."""
        return frames

    def _scores(
        self, score: npt.NDArray[np.float32], heatmap: npt.NDArray[np.float32], timing: Timing | None = None
    ) -> Scores:
        """Wraps the network's outputs; both arrays must belong to the caller."""
        count = len(score)
        return Scores(score, heatmap, np.full(count, self.precision == EXACT), np.zeros(count, np.bool_), timing=timing)

    @abstractmethod
    def _submit(self, frames: Frames, until: int | None) -> Future[Scores]: ...

    @abstractmethod
    def _close(self) -> None: ...


class NetworkEngine(Engine):
    """An engine that runs a bundle's network through one library.

    Args:
        bundle: the opened bundle.
        settings: how to run it.

    Raises:
        EngineUnavailable: it cannot run here; the text says why.
        ConfigError: it does not offer a setting here.
    """

    def __init__(self, bundle: Bundle, settings: EngineSettings) -> None:
        if settings.max_batch < 1:
            raise ConfigError(f"max_batch is {settings.max_batch}; give 1 or more")
        devices = self.devices()
        device = settings.device or devices[0]
        if device not in devices:
            raise ConfigError(f"the engine {self.name} runs on {' or '.join(devices)} here, not on {device}")
        offered = self.precisions_for(bundle, device)
        precision = settings.precision or offered[0]
        if precision not in offered:
            raise ConfigError(f"the engine {self.name} offers {' and '.join(offered)} here, not {precision}")
        super().__init__(bundle.size, precision, settings.max_batch, device)
        self._only_full = settings.only_full
        self._adapted = bundle.manifest.adapted

    def _prepare(self, frames: Frames) -> Frames:
        """Returns frames in the light that the network knows."""
        gains = None if self._adapted is None else self._adapted.gains
        if gains is None:
            return frames
        # OpenCV, which whoever only asks for an engine's name need not load.
        from engines.image import multiply

        return multiply(frames, gains)

    def _scores(
        self, score: npt.NDArray[np.float32], heatmap: npt.NDArray[np.float32], timing: Timing | None = None
    ) -> Scores:
        """Wraps the network's outputs as `Engine` does, in the bundle's units."""
        if self._adapted is not None:
            # Not in the model's files: every engine does it alike here, and no plan has to be built anew.
            for values, units in ((score, self._adapted.score), (heatmap, self._adapted.heatmap)):
                np.subtract(values, np.float32(units.mean), out=values)
                np.divide(values, np.float32(units.std), out=values)
        return super()._scores(score, heatmap, timing)

    def _halve_batch(self, cause: Exception) -> None:
        """Halves the batch size when the GPU's memory is too small.

        Raises:
            EngineUnavailable: batches have one frame already.
        """
        if self.max_batch == 1:
            raise EngineUnavailable(
                "the GPU does not have enough free memory for a batch of one; stop what else runs on it"
            ) from cause
        self.max_batch //= 2
        log.warning("the GPU's memory is too small for these batches: max_batch is now %d", self.max_batch)

    @classmethod
    @abstractmethod
    def devices(cls) -> tuple[str, ...]:
        """Lists the devices that it can use on this machine, preferred first.

        Raises:
            EngineUnavailable: it cannot run here at all; the text says why.
        """

    @classmethod
    @abstractmethod
    def precisions(cls, device: str) -> tuple[str, ...]:
        """Lists the precisions that it offers on one of its devices, preferred first."""

    @classmethod
    def precisions_for(cls, bundle: Bundle, device: str) -> tuple[str, ...]:
        """Lists the precisions that it offers for a bundle; some need their own model file."""
        del bundle
        return cls.precisions(device)
