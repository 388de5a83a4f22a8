"""What every kind of live camera does once it is open."""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass

from engines.closing import Closing
from engines.errors import TaktlineError
from engines.image import Image


class CameraError(TaktlineError):
    """A camera cannot be opened, or sends no more; the source opens it again."""


class VideoEnded(Exception):
    """A video file has no more pictures."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What a camera took.

    Attributes:
        image: uint8, BGR `[H, W, 3]` or gray `[H, W]`, or None where there is none to inspect.
        captured_at: wall clock, nanoseconds since 1970 (UTC).
        captured: monotonic clock, nanoseconds.
        part: id of the part, where the camera knows one.
        fault: why there is no image.
        lost: whether the camera numbered it and it never came.
    """

    image: Image | None
    captured_at: int
    captured: int
    part: str | None = None
    fault: str | None = None
    lost: bool = False

    @staticmethod
    def now(image: Image) -> Picture:
        """Makes a picture that was taken just now."""
        return Picture(image, time.time_ns(), time.monotonic_ns())


class Device(Closing):
    """An opened camera."""

    @abstractmethod
    def read(self) -> Picture | None:
        """Waits for the next picture; None where none came for a moment.

        Raises:
            CameraError: none will come.
            VideoEnded: it was a video file.
        """

    def trigger(self) -> None:
        """Makes a camera that waits for software triggers take a picture; the others take pictures all the time.

        Raises:
            CameraError: it did not take the trigger.
        """
