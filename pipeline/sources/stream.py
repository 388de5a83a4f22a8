"""Network cameras (RTSP, HTTP Motion JPEG) and video files, through FFmpeg."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from engines.extras import require
from pipeline.config.camera import CameraConfig
from pipeline.sources.device import CameraError, Device, Picture, VideoEnded

# FFmpeg renders text files as pictures of a terminal, and accepts any text as such.
_TEXT_FORMATS = {"tty", "bin", "xbin", "adf", "idf"}
_NETWORK = ("rtsp://", "rtsps://", "http://", "https://")


class StreamDevice(Device):
    """A stream or a video file, decoded by FFmpeg; decoding releases the interpreter's lock.

    Raises:
        CameraError: it cannot be opened now.
    """

    def __init__(self, config: CameraConfig) -> None:
        av = import_av()
        self._av = av
        self._live = config.source.startswith(_NETWORK)
        options = {"fflags": "nobuffer", "flags": "low_delay"} if self._live else {}
        if config.source.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        timeout = (config.open_timeout_ms / 1000, (config.silence_ms or 3_600_000) / 1000)
        address = config.source if self._live else config.source.removeprefix("file:")
        try:
            self._container = av.open(address, options=options, timeout=timeout if self._live else None)
        except (av.FFmpegError, OSError) as error:
            raise CameraError(f"it cannot be opened ({error.strerror or error})") from error
        if not self._container.streams.video or self._container.format.name in _TEXT_FORMATS:
            self._container.close()
            raise CameraError("it holds no video")
        stream = self._container.streams.video[0]
        # Each further decoder thread would delay the stream by a picture.
        stream.thread_type = "NONE" if self._live else "AUTO"
        self._pictures = self._container.decode(stream)
        self._period = None if self._live or config.fps is None else 1 / config.fps
        self._due = time.monotonic()

    def read(self) -> Picture | None:
        """Waits for the next picture."""
        try:
            picture = next(self._pictures)
        except StopIteration:
            if self._live:
                raise CameraError("it ended the stream") from None
            raise VideoEnded from None
        except (self._av.FFmpegError, OSError) as error:
            raise CameraError(f"it sends no more ({error.strerror or error})") from error
        if self._period is not None:
            self._due = max(self._due + self._period, time.monotonic() - self._period)
            time.sleep(max(0.0, self._due - time.monotonic()))
        return Picture.now(np.asarray(picture.to_ndarray(format="bgr24"), np.uint8))

    def close(self) -> None:
        """Closes the stream."""
        self._container.close()


def import_av() -> Any:
    """Imports PyAV.

    Raises:
        TaktlineError: it is not installed; the text names the extra.
    """
    return require("av", "camera")
