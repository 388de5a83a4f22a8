"""USB cameras, through V4L2 and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.config.camera import CameraConfig
from pipeline.sources.device import CameraError, Device, Picture


class UsbDevice(Device):
    """A V4L2 camera, by number or by its path under /dev/v4l/by-id, which survives replugging.

    Raises:
        CameraError: it cannot be opened now.
    """

    def __init__(self, config: CameraConfig) -> None:
        name = config.source.removeprefix("usb:")
        target: int | str = int(name) if name.isdecimal() else name
        self._capture = cv2.VideoCapture(target, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError("it cannot be opened; check that it is plugged in and that no other program uses it")
        # Let the camera compress: eight uncompressed streams do not fit through one USB bus.
        settings: list[tuple[int, float | None]] = [
            (cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter.fourcc(*"MJPG"))),
            (cv2.CAP_PROP_FRAME_WIDTH, config.width),
            (cv2.CAP_PROP_FRAME_HEIGHT, config.height),
            (cv2.CAP_PROP_FPS, config.fps),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
            # V4L2 counts exposure in units of 100 microseconds, and takes 1 for manual.
            (cv2.CAP_PROP_AUTO_EXPOSURE, None if config.exposure_us is None else 1),
            (cv2.CAP_PROP_EXPOSURE, None if config.exposure_us is None else config.exposure_us / 100),
        ]
        for number, value in settings:
            if value is not None:
                self._capture.set(number, value)

    def read(self) -> Picture | None:
        """Waits for the next picture."""
        good, image = self._capture.read()
        if not good or image is None:
            raise CameraError("it sends no more; it may have been unplugged")
        return Picture.now(np.asarray(image, np.uint8))

    def close(self) -> None:
        """Releases the camera."""
        self._capture.release()
