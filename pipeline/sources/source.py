"""What every source of frames does."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from engines.errors import ConfigError
from pipeline.flow.frame import Frame


class Source(ABC):
    """A camera, or something that stands in for one.

    Attributes:
        camera: its name, which verdicts carry.
        trouble: why it gives no frames at the moment, or None.
        reconnects: how often it was opened anew; None for one that never is.
        lost_frames: how many frames it numbered that never came; None for one that does not number them.
    """

    def __init__(self, camera: str) -> None:
        self.camera = camera
        self.trouble: str | None = None
        self.reconnects: int | None = None
        self.lost_frames: int | None = None
        self._sequence = 0

    @abstractmethod
    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields frames until there are no more, or soon after `stop` is set."""

    def trigger(self, part: str | None) -> None:
        """Asks for a picture of one part.

        Raises:
            TaktlineError: it gives pictures without being asked, or is asked too often.
        """
        del part
        raise ConfigError(f"camera '{self.camera}' takes no triggers; it gives its pictures by itself")

    def _frame_from_file(self, path: Path, part: str, label: str | None = None) -> Frame:
        """Reads a picture as the next frame, to be decoded later; one that cannot be read has no image."""
        captured_at, started = time.time_ns(), time.monotonic_ns()
        sequence = self._sequence
        self._sequence += 1
        try:
            encoded, fault = path.read_bytes(), None
        except OSError as error:
            encoded, fault = None, f"{path} cannot be read: {error.strerror or error}"
        return Frame(
            self.camera, sequence, None, captured_at, started, encoded=encoded, part=part, label=label, fault=fault
        )


class Pacer:
    """Keeps a steady rate: waits for each next frame's moment, counted from the first.

    Args:
        fps: frames a second; None for as fast as they are taken.
    """

    def __init__(self, fps: float | None) -> None:
        if fps is not None and not 0 < fps < float("inf"):
            raise ConfigError(f"the frame rate is {fps:g}; give one above 0 frames a second")
        self._period = None if fps is None else 1.0 / fps
        self._next: float | None = None

    def wait(self, stop: threading.Event) -> bool:
        """Waits for the next moment and tells whether to go on (False once `stop` is set).

        A taker that fell behind is not made to catch up in a burst: the clock starts anew from now.
        """
        now = time.monotonic()
        if self._period is None:
            return not stop.is_set()
        if self._next is None or now > self._next + self._period:
            self._next = now
        pause, self._next = self._next - now, self._next + self._period
        return not stop.wait(max(0.0, pause))
