"""Live cameras: USB, RTSP, HTTP MJPEG, and video files. A camera that fails is opened again, without end."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engines.image import Image
from pipeline.config import CameraConfig
from pipeline.frames import Frame
from pipeline.sources.device import CameraError, Device, open_device, redact
from pipeline.sources.source import Source

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_POLL_S = 0.1
_BLACK_MEAN = 2.0
_BLACK_FRAMES = 25
_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


@dataclass(frozen=True)
class _Delivered:
    """What a reader hands over: a picture, or the reason why none will come any more (None at a video's end)."""

    image: Image | None
    captured_at: int
    captured: int
    fault: CameraError | None = None


class CameraSource(Source):
    """Yields the pictures of a live camera.

    The device is opened and read in a thread of its own, so that a read that never returns holds nothing up: a camera
    that is silent for `silence_ms` is given up and opened anew, as is one that fails, after a pause that doubles up to
    30 seconds. Its settings are applied each time. A video file ends the source where it ends.
    """

    def __init__(self, config: CameraConfig) -> None:
        super().__init__(config.name)
        self._config = config
        self._address = redact(config.source)
        self._black = 0
        self.trouble = "it is being opened"

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields frames until `stop` is set or a video ends."""
        pause = _FIRST_PAUSE_S
        while not stop.is_set():
            reader = _Reader(self._config)
            came = 0
            try:
                for delivered in self._delivered(reader, stop):
                    came += 1
                    self.trouble = None
                    pause = _FIRST_PAUSE_S
                    yield self._frame(delivered)
                return
            except CameraError as error:
                if self._config.source.startswith("file:"):
                    log.error("the video %s of camera %s ends early: %s", self._address, self.camera, error)
                    return
                self.trouble = str(error)
                log.warning("camera %s (%s): %s; %d frames came; opening it again in %.1f s",
                            self.camera, self._address, error, came, pause)  # fmt: skip
            finally:
                reader.abandon()
            # Cameras that went down together do not come back in one moment.
            stop.wait(pause * random.uniform(0.8, 1.2))
            pause = min(_LONGEST_PAUSE_S, 2 * pause)

    def _delivered(self, reader: _Reader, stop: threading.Event) -> Iterator[_Delivered]:
        silence_s = self._config.silence_ms / 1000
        last = time.monotonic()
        while not stop.is_set():
            try:
                delivered = reader.pictures.get(timeout=_POLL_S)
            except queue.Empty:
                if silence_s and time.monotonic() - last > max(silence_s, reader.grace_s):
                    raise CameraError(f"it sent no picture for {time.monotonic() - last:.1f} s") from None
                continue
            if delivered.fault is not None:
                raise delivered.fault
            if delivered.image is None:
                return
            last = time.monotonic()
            reader.grace_s = 0.0
            yield delivered

    def _frame(self, delivered: _Delivered) -> Frame:
        assert delivered.image is not None
        self._note_black(delivered.image)
        sequence = self._sequence
        self._sequence += 1
        image = arrange(delivered.image, self._config.roi, self._config.rotate)
        return Frame(self.camera, sequence, image, delivered.captured_at, delivered.captured)

    def _note_black(self, image: Image) -> None:
        dark = float(image[::16, ::16].mean()) < _BLACK_MEAN
        self._black = self._black + 1 if dark else 0
        if self._black == _BLACK_FRAMES:
            log.warning("camera %s (%s): its picture is black; is the lens covered, or the light off?",
                        self.camera, self._address)  # fmt: skip


class _Reader:
    """A thread that opens a device and reads it until it is abandoned or the device fails."""

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._over = threading.Event()
        self.pictures: queue.Queue[_Delivered] = queue.Queue(2)
        # Opening takes longer than the pause between two pictures.
        self.grace_s = config.open_timeout_ms / 1000
        # A read that never returns must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=f"read {config.name}", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        """Lets the thread end; one that hangs in a read is left behind."""
        self._over.set()
        self._thread.join(2 * _POLL_S)

    def _run(self) -> None:
        try:
            with open_device(self._config) as device:
                self._read(device)
        except CameraError as error:
            self._hand_over(_Delivered(None, 0, 0, error))
        except Exception as error:  # noqa: BLE001 - whatever a driver raises is a fault of this camera
            fault = CameraError(f"it failed ({type(error).__name__}: {error})")
            fault.__cause__ = error
            self._hand_over(_Delivered(None, 0, 0, fault))

    def _read(self, device: Device) -> None:
        while not self._over.is_set():
            image = device.read()
            now = time.monotonic_ns()
            self._hand_over(_Delivered(image, time.time_ns(), now))
            if image is None:
                return

    def _hand_over(self, delivered: _Delivered) -> None:
        while not self._over.is_set():
            try:
                self.pictures.put(delivered, timeout=_POLL_S)
                return
            except queue.Full:
                continue


def arrange(image: npt.NDArray[np.uint8], roi: tuple[int, int, int, int] | None, rotate: int) -> Image:
    """Cuts a region out of a picture and turns it.

    Args:
        image: uint8 `[H, W, 3]`.
        roi: x, y, width and height in pixels of the picture; what lies outside of it is left out.
        rotate: degrees clockwise: 0, 90, 180 or 270.
    """
    if roi is not None:
        x, y, width, height = roi
        image = image[y : y + height, x : x + width]
    if rotate:
        image = np.asarray(cv2.rotate(image, _ROTATIONS[rotate]), np.uint8)
    return np.ascontiguousarray(image)
