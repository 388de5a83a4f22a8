"""Live cameras and video files. A camera that fails is opened again, without end."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import ConfigError
from engines.image import Image
from pipeline.config.camera import CameraConfig
from pipeline.flow.frame import Frame
from pipeline.sources.device import CameraError, Device, Picture, VideoEnded, redact
from pipeline.sources.gige import GigeDevice
from pipeline.sources.source import Source
from pipeline.sources.stream import StreamDevice
from pipeline.sources.trigger import Trigger, Triggers
from pipeline.sources.usb import UsbDevice

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_POLL_S = 0.1
_TRIGGER_PATIENCE_S = 2.0
_BLACK_MEAN = 2.0
_BLACK_FRAMES = 25
_ROTATIONS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


class _Dark(CameraError):
    """A camera has sent black pictures for long."""


class CameraSource(Source):
    """Yields the pictures of a live camera.

    The device is opened and read in a thread of its own, so that a read that never returns holds nothing up: a camera
    that is silent for `silence_ms` is given up and opened anew, as is one that fails, after a pause that doubles up to
    30 seconds. Its settings are applied each time. One whose pictures are black is opened anew as well, at the same
    growing intervals, but goes on giving them meanwhile. A video file ends the source where it ends.

    Where pictures are asked for by message (`trigger`), each trigger gives one frame that carries its part id and whose
    time counts from the trigger; where no picture comes, the frame has none and is answered `corrupt`.
    """

    def __init__(self, config: CameraConfig) -> None:
        super().__init__(config.name)
        self._config = config
        self._address = redact(config.source)
        exclusive = config.source.startswith("gige:")
        self._triggers = Triggers(exclusive) if config.trigger == "software" else None
        self._pause = _FIRST_PAUSE_S
        self.reconnects = 0
        self.lost_frames = 0 if exclusive else None
        self._black, self._black_since = 0, 0.0
        self.trouble = "it is being opened"

    def trigger(self, part: str | None) -> None:
        """Asks for a picture."""
        if self._triggers is None:
            raise ConfigError(
                f"camera '{self.camera}' takes no triggers; give it trigger = \"software\" in the line file"
            )
        try:
            self._triggers.ask(part)
        except CameraError as error:
            # Its frame is answered all the same, once it is clear that no picture comes.
            log.warning("camera %s (%s): %s", self.camera, self._address, error)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields frames until `stop` is set or a video ends."""
        while not stop.is_set():
            reader = _Reader(self._config, self._triggers)
            came = 0
            wait = True
            try:
                for frame in self._read(reader, stop):
                    came += 1
                    yield frame
                return
            except CameraError as error:
                if self._config.source.startswith("file:"):
                    log.error("the video %s of camera %s ends early: %s", self._address, self.camera, error)
                    return
                self.trouble = str(error)
                self.reconnects = (self.reconnects or 0) + 1
                wait = not isinstance(error, _Dark)
                log.warning("camera %s (%s): %s; %d frames came; opening it again in %.1f s",
                            self.camera, self._address, error, came, self._pause if wait else 0)  # fmt: skip
            finally:
                reader.abandon()
            # Cameras that went down together do not come back in one moment.
            until = time.monotonic() + (self._pause * random.uniform(0.8, 1.2) if wait else 0.0)
            yield from self._unanswered(True)
            while time.monotonic() < until and not stop.wait(_POLL_S):
                yield from self._unanswered(True)
            self._pause = min(_LONGEST_PAUSE_S, 2 * self._pause)

    def _read(self, reader: _Reader, stop: threading.Event) -> Iterator[Frame]:
        while not stop.is_set():
            try:
                came = reader.pictures.get(timeout=_POLL_S)
            except queue.Empty:
                if self._config.trigger is not None and reader.opened:
                    # It may rightly be silent from now on.
                    self.trouble = None
                self._check_silence(time.monotonic() - reader.last, reader.grace_s)
                yield from self._unanswered(False)
                continue
            if isinstance(came, CameraError):
                raise came
            if isinstance(came, VideoEnded):
                return
            yield from self._unanswered(False)
            yield self._frame(came)
            self._check_black(came.image)

    def _check_silence(self, silent_s: float, grace_s: float) -> None:
        limit_s = self._config.silence_ms / 1000
        if self._triggers is not None:
            limit_s = limit_s or _TRIGGER_PATIENCE_S
            if self._triggers.waiting_s() > max(limit_s, grace_s):
                raise CameraError(f"it gave no picture for a trigger of {self._triggers.waiting_s():.1f} s ago")
            if self._config.source.startswith("gige:"):
                return
        if self._config.trigger in {None, "software"} and limit_s and silent_s > max(limit_s, grace_s):
            raise CameraError(f"it sent no picture for {silent_s:.1f} s")

    def _unanswered(self, all_of_them: bool) -> Iterator[Frame]:
        """Yields the frames of triggers that get no picture: those that came too early, or all that wait."""
        if self._triggers is None:
            return
        for trigger in self._triggers.give_up() if all_of_them else self._triggers.refused():
            why = "the camera gave no picture" if all_of_them else "the trigger came before the last one's picture"
            picture = Picture(None, trigger.asked_at, trigger.asked, trigger.part, why)
            yield self._frame(picture)

    def _frame(self, picture: Picture) -> Frame:
        self.lost_frames = self.lost_frames if self.lost_frames is None else self.lost_frames + picture.lost
        sequence = self._sequence
        self._sequence += 1
        image = None if picture.image is None else arrange(picture.image, self._config.roi, self._config.rotate)
        return Frame(
            self.camera,
            sequence,
            image,
            picture.captured_at,
            picture.captured,
            part=picture.part,
            fault=picture.fault,
        )

    def _check_black(self, image: Image | None) -> None:
        if image is None:
            return
        if float(image[::16, ::16].mean()) >= _BLACK_MEAN:
            self._black, self._pause, self.trouble = 0, _FIRST_PAUSE_S, None
            return
        self._black += 1
        if self._black == _BLACK_FRAMES:
            self._black_since = time.monotonic()
            self.trouble = "its picture is black; is the lens covered, or the light off?"
            log.warning("camera %s (%s): %s", self.camera, self._address, self.trouble)
        elif self._black > _BLACK_FRAMES and not self._config.source.startswith("file:"):
            if time.monotonic() - self._black_since > self._pause:
                self._black_since = time.monotonic()
                raise _Dark("its picture is black; is the lens covered, or the light off?")
        elif self._black < _BLACK_FRAMES:
            self.trouble = None


class _Reader:
    """A thread that opens a device and reads it until it is abandoned or the device fails."""

    def __init__(self, config: CameraConfig, triggers: Triggers | None) -> None:
        self._config, self._triggers = config, triggers
        self._over = threading.Event()
        self.pictures: queue.Queue[Picture | CameraError | VideoEnded] = queue.Queue(2)
        self.opened = False
        self.last = time.monotonic()
        # Opening takes longer than the pause between two pictures.
        self.grace_s = config.open_timeout_ms / 1000
        # A read that never returns must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=f"read {config.name}", daemon=True)
        self._thread.start()

    def abandon(self) -> None:
        """Lets the thread end; one that hangs in a read is left behind."""
        if self._triggers is not None:
            self._triggers.fire = None
        self._over.set()
        self._thread.join(3 * _POLL_S)

    def _run(self) -> None:
        try:
            with _open_device(self._config) as device:
                self.opened = True
                if self._triggers is not None:
                    self._triggers.fire = device.trigger
                self._read(device)
        except (CameraError, VideoEnded) as error:
            self._hand_over(error)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises is a fault of this camera
            fault = CameraError(f"it failed ({type(error).__name__}: {error})")
            fault.__cause__ = error
            self._hand_over(fault)

    def _read(self, device: Device) -> None:
        while not self._over.is_set():
            picture = device.read()
            if picture is None:
                continue
            self.last, self.grace_s = time.monotonic(), 0.0
            if self._triggers is not None:
                trigger = self._triggers.match(picture.captured)
                if trigger is None:
                    # A camera that runs free takes pictures that nobody asked for.
                    continue
                picture = _asked_for(picture, trigger)
            self._hand_over(picture)

    def _hand_over(self, came: Picture | CameraError | VideoEnded) -> None:
        while not self._over.is_set():
            try:
                self.pictures.put(came, timeout=_POLL_S)
                return
            except queue.Full:
                continue


def _asked_for(picture: Picture, trigger: Trigger) -> Picture:
    part = trigger.part if trigger.part is not None else picture.part
    return Picture(picture.image, trigger.asked_at, trigger.asked, part, picture.fault)


def _open_device(config: CameraConfig) -> Device:
    if config.source.startswith("usb:"):
        return UsbDevice(config)
    return GigeDevice(config) if config.source.startswith("gige:") else StreamDevice(config)


def arrange(image: npt.NDArray[np.uint8], roi: tuple[int, int, int, int] | None, rotate: int) -> Image:
    """Cuts a region out of a picture and turns it.

    Args:
        image: uint8, BGR `[H, W, 3]` or gray `[H, W]`.
        roi: x, y, width and height in pixels of the picture; what lies outside of it is left out.
        rotate: degrees clockwise: 0, 90, 180 or 270.
    """
    if roi is not None:
        x, y, width, height = roi
        image = image[y : y + height, x : x + width]
    if rotate:
        image = np.asarray(cv2.rotate(image, _ROTATIONS[rotate]), np.uint8)
    return np.ascontiguousarray(image)
