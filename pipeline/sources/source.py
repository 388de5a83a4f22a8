"""The base of all sources of frames."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from engines.errors import ConfigError
from engines.image import Image
from pipeline.flow.arrangement import Arrangement
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.frame import Frame
from pipeline.protocol.topics import safe_text


class Source(ABC):
    """A camera, or something that stands in for one.

    Args:
        camera: its name.
        clock: stamps its frames. Their order and deadlines come from its monotonic time; its wall clock only dates
            them.

    Attributes:
        camera: its name, which verdicts carry.
        arrangement: cuts out and turns its pictures; None if there is nothing to do.
        reconnects: how often it was reopened; None if this kind never is.
        lost_frames: number of frames that it numbered but that never came; None if it does not number them.
    """

    def __init__(self, camera: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self.camera = camera
        self._clock = clock
        self.arrangement: Arrangement | None = None
        self.reconnects: int | None = None
        self.lost_frames: int | None = None
        self._trouble: str | None = None
        self._sequence = 0

    @property
    def trouble(self) -> str | None:
        """Why it currently gives no frames, or none that can be inspected; None while all is well."""
        return self._trouble or (None if self.arrangement is None else self.arrangement.trouble)

    @abstractmethod
    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields frames until there are no more, or soon after `stop` is set."""

    def trigger(self, part: str | None) -> None:
        """Asks for a picture of one part.

        Raises:
            TaktlineError: the source takes no triggers, or too many are waiting.
        """
        del part
        raise ConfigError(f"camera '{self.camera}' takes no triggers; it gives its pictures by itself")

    def close(self) -> None:  # noqa: B027 - most sources hold nothing before `frames` runs
        """Frees what the source has held since it was opened, in case `frames` never ran. Closing twice is safe."""

    def _now(self) -> tuple[int, int]:
        """Returns the wall clock and the monotonic time, in nanoseconds."""
        return self._clock.wall_ns(), self._clock.monotonic_ns()

    def _frame_from_file(self, path: Path, part: str, label: str | None = None) -> Frame:
        """Reads a picture as the next frame, to be decoded later; one that cannot be read has no image."""
        captured_at, captured = self._now()
        encoded = fault = None
        try:
            encoded = path.read_bytes()
        except OSError as error:
            fault = f"{path} cannot be read: {error.strerror or error}"
        except MemoryError:
            fault = f"{path} cannot be read: the machine has no memory left"
        return self._frame(captured_at, captured, encoded=encoded, part=part, label=label, fault=fault)

    def _frame(
        self, captured_at: int, captured: int, *, image: Image | None = None, encoded: bytes | None = None,
        part: str | None = None, label: str | None = None, fault: str | None = None,
    ) -> Frame:  # fmt: skip
        """Makes the next frame, and makes its text safe for the wire."""
        sequence = self._sequence
        self._sequence += 1
        return Frame(
            self.camera,
            sequence,
            image,
            captured_at,
            captured,
            encoded,
            part=None if part is None else safe_text(part),
            label=None if label is None else safe_text(label),
            fault=None if fault is None else safe_text(fault),
            arrangement=self.arrangement,
        )


class Pacer:
    """Keeps a steady rate: waits for each next frame's moment, counted from the first.

    Args:
        fps: frames per second; None for as fast as they are taken.
    """

    def __init__(self, fps: float | None) -> None:
        if fps is not None and not 0 < fps < float("inf"):
            raise ConfigError(f"the frame rate is {fps:g}; give one above 0 frames a second")
        self._period = None if fps is None else 1.0 / fps
        self._next: float | None = None

    def wait(self, stop: threading.Event) -> bool:
        """Waits for the next moment and returns whether to continue (False once `stop` is set).

        If the consumer fell behind, it does not have to catch up in a burst: counting restarts from now.
        """
        now = time.monotonic()
        if self._period is None:
            return not stop.is_set()
        if self._next is None or now > self._next + self._period:
            self._next = now
        pause, self._next = self._next - now, self._next + self._period
        return not stop.wait(max(0.0, pause))


class Backoff:
    """How long to wait before the next attempt: twice as long after each failure.

    Args:
        first_s: the first pause, in seconds.
        longest_s: the longest pause, in seconds.
    """

    def __init__(self, first_s: float = 0.5, longest_s: float = 30.0) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self.pause_s = first_s

    def failed(self) -> None:
        """Makes the next pause longer."""
        self.pause_s = min(self._longest_s, 2 * self.pause_s)

    def recovered(self) -> None:
        """Begins with the first pause again."""
        self.pause_s = self._first_s
