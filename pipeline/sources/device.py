"""The devices behind live cameras: OpenCV reads USB cameras, FFmpeg (through PyAV) streams and video files."""

from __future__ import annotations

import re
import time
from abc import abstractmethod
from typing import Any

import cv2
import numpy as np

from engines.closing import Closing
from engines.errors import TaktlineError, missing_package
from engines.image import Image
from pipeline.config import CameraConfig

_NETWORK = ("rtsp://", "rtsps://", "http://", "https://")


class CameraError(TaktlineError):
    """A camera cannot be opened, or sends no more; the source opens it again."""


class Device(Closing):
    """An opened camera."""

    @abstractmethod
    def read(self) -> Image | None:
        """Waits for the next picture, uint8 `[H, W, 3]` BGR; None where a video has ended.

        Raises:
            CameraError: none will come.
        """


def open_device(config: CameraConfig) -> Device:
    """Opens the device that a camera's source names, and applies its settings.

    Raises:
        CameraError: it cannot be opened now.
    """
    return _UsbDevice(config) if config.source.startswith("usb:") else _StreamDevice(config)


def need_packages(source: str) -> None:
    """Refuses a source whose package is not installed.

    Raises:
        TaktlineError: the text names the extra.
    """
    if not source.startswith("usb:"):
        _import_av()


def redact(address: str) -> str:
    """Returns an address without its password."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", address)


class _UsbDevice(Device):
    """A V4L2 camera, by number or by its path under /dev/v4l/by-id, which survives replugging."""

    def __init__(self, config: CameraConfig) -> None:
        name = config.source.removeprefix("usb:")
        target: int | str = int(name) if name.isdecimal() else name
        self._capture = cv2.VideoCapture(target, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError("it cannot be opened; is it plugged in, and used by no other program?")
        # The camera compresses, or eight of them would not fit through one USB.
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

    def read(self) -> Image | None:
        good, image = self._capture.read()
        if not good or image is None:
            raise CameraError("it sends no more; was it unplugged?")
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        self._capture.release()


class _StreamDevice(Device):
    """A stream or a video file, decoded by FFmpeg; decoding does not hold the interpreter's lock."""

    def __init__(self, config: CameraConfig) -> None:
        av = _import_av()
        self._av = av
        self._live = config.source.startswith(_NETWORK)
        options = {"fflags": "nobuffer", "flags": "low_delay"} if self._live else {}
        if config.source.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        timeout = (config.open_timeout_ms / 1000, (config.silence_ms or 3_600_000) / 1000)
        address = config.source if self._live else config.source.removeprefix("file:")
        try:
            self._container = av.open(address, options=options, timeout=timeout if self._live else None)
            stream = self._container.streams.video[0]
        except (av.FFmpegError, OSError) as error:
            raise CameraError(f"it cannot be opened ({error.strerror or error})") from error
        except IndexError as error:
            raise CameraError("it has no video") from error
        # More threads in the decoder would each hold a picture back.
        stream.thread_type = "NONE" if self._live else "AUTO"
        self._pictures = self._container.decode(stream)
        self._period = None if self._live or config.fps is None else 1 / config.fps
        self._due = time.monotonic()

    def read(self) -> Image | None:
        try:
            picture = next(self._pictures)
        except StopIteration:
            if self._live:
                raise CameraError("it ended the stream") from None
            return None
        except (self._av.FFmpegError, OSError) as error:
            raise CameraError(f"it sends no more ({error.strerror or error})") from error
        if self._period is not None:
            self._due = max(self._due + self._period, time.monotonic() - self._period)
            time.sleep(max(0.0, self._due - time.monotonic()))
        return np.asarray(picture.to_ndarray(format="bgr24"), np.uint8)

    def close(self) -> None:
        self._container.close()


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise TaktlineError(missing_package("av", "camera")) from error
    return av
