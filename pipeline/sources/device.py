"""The interface of an opened camera, of any kind."""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass

from engines.closing import Closing
from engines.errors import TaktlineError
from engines.image import Image


class CameraError(TaktlineError):
    """A camera cannot be opened, or sends no more; the source will reopen it."""


class VideoEnded(Exception):
    """A video file has no more pictures."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture from a camera.

    Attributes:
        image: uint8, BGR `[H, W, 3]` or gray `[H, W]`; None if there is none to inspect.
        captured_at: wall clock, nanoseconds since 1970 (UTC).
        captured: monotonic clock, nanoseconds.
        part: id of the part, if the camera knows it.
        fault: why there is no image.
        lost: whether the camera numbered it but it never arrived.
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
        """Waits a moment for the next picture; None if none came.

        Raises:
            CameraError: no more will come.
            VideoEnded: the video file has ended.
        """

    def trigger(self) -> None:
        """Makes a camera that waits for software triggers take a picture; all others ignore it.

        Raises:
            CameraError: it did not take the trigger.
        """
