"""Live cameras and video files. A failing camera is reopened again and again."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator

from engines.errors import ConfigError
from engines.image import Image
from pipeline.config.camera import CameraConfig, redact
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.frame import Frame
from pipeline.sources.device import CameraError, VideoEnded
from pipeline.sources.reader import Reader, Shot
from pipeline.sources.source import Backoff, Source
from pipeline.sources.trigger import Triggers

log = logging.getLogger(__name__)

_POLL_S = 0.1
_TRIGGER_PATIENCE_S = 2.0
_BLACK_MEAN = 2.0
_BLACK_FRAMES = 25
_BLACK = "its picture is black; is the lens covered, or the light off?"


class _Dark(CameraError):
    """A camera has sent black pictures for a long time."""


class CameraSource(Source):
    """Yields the pictures of a live camera.

    The device is opened and read in its own thread, so that a read that never returns blocks nothing else. A camera
    that fails, or is silent for `silence_ms`, is closed and reopened after a pause that doubles up to 30 seconds; its
    settings are applied each time. A camera with black pictures is reopened at the same growing intervals, and its
    pictures are still inspected. At the end of a video file the source ends.

    If pictures are requested by message (`trigger`), each trigger gives one frame that carries its part id and whose
    time counts from the trigger. If no picture comes, or the line stops first, the frame has none and is answered
    `corrupt`.
    """

    def __init__(self, config: CameraConfig, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(config.name, clock)
        self._config = config
        self._address = redact(config.source)
        self._video = config.source.startswith("file:")
        exclusive = config.source.startswith("gige:")
        self._triggers = Triggers(exclusive, clock) if config.trigger == "software" else None
        self._backoff = Backoff()
        self.reconnects = 0
        self.lost_frames = 0 if exclusive else None
        self._black, self._black_since = 0, 0.0
        self._trouble = "it is being opened"

    def trigger(self, part: str | None) -> None:
        """Asks for a picture.

        Raises:
            TaktlineError: the camera takes no triggers, or no more of them at the moment.
        """
        if self._triggers is None:
            raise ConfigError(
                f"camera '{self.camera}' takes no triggers; give it trigger = \"software\" in the line file"
            )
        try:
            self._triggers.ask(part)
        except CameraError as error:
            # Its frame is answered anyway, once it is clear that no picture will come.
            log.warning("camera %s (%s): %s", self.camera, self._address, error)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields frames until `stop` is set or a video ends; by then every accepted trigger has its frame."""

        while not stop.is_set():
            reader = Reader(self._config, self._triggers)
            first = self._sequence
            error: CameraError | None = None
            try:
                yield from self._read(reader, stop)
            except CameraError as fault:
                error = fault
            finally:
                left = reader.abandon()
            yield from map(self._take, left)
            if error is None:
                break
            if self._video:
                log.error("the video %s of camera %s ended early: %s", self._address, self.camera, error)
                break
            yield from self._wait(error, self._sequence - first, stop)
        if self._triggers is not None:
            self._triggers.close("the line stopped before the camera gave a picture")
            yield from self._unanswered()

    def _read(self, reader: Reader, stop: threading.Event) -> Iterator[Frame]:
        while not stop.is_set():
            try:
                shot = reader.take(_POLL_S)
            except VideoEnded:
                return
            if shot is None:
                if self._config.trigger is not None and reader.opened:
                    # From now on it may legitimately be silent.
                    self._trouble = None
                self._check_silence(time.monotonic() - reader.last, reader.grace_s)
            yield from self._unanswered()
            if shot is not None:
                yield self._take(shot)
                self._check_black(shot.picture.image)

    def _wait(self, error: CameraError, came: int, stop: threading.Event) -> Iterator[Frame]:
        """Waits before the camera is reopened, and answers triggers that come in the meantime."""
        self._trouble = str(error)
        self.reconnects = (self.reconnects or 0) + 1
        pause_s = 0.0 if isinstance(error, _Dark) else self._backoff.pause_s
        log.warning("camera %s (%s): %s; %d frames came; reopening it in %.1f s",
                    self.camera, self._address, error, came, pause_s)  # fmt: skip
        # Cameras that went down together should not all be reopened at the same moment.
        until = time.monotonic() + pause_s * random.uniform(0.8, 1.2)
        while True:
            if self._triggers is not None:
                self._triggers.give_up("the camera gave no picture")
            yield from self._unanswered()
            if time.monotonic() >= until or stop.wait(_POLL_S):
                break
        self._backoff.failed()

    def _check_silence(self, silent_s: float, grace_s: float) -> None:
        limit_s = self._config.silence_ms / 1000
        if self._triggers is not None:
            limit_s = limit_s or _TRIGGER_PATIENCE_S
            if self._triggers.waiting_s() > max(limit_s, grace_s):
                raise CameraError(f"it gave no picture for a trigger {self._triggers.waiting_s():.1f} s ago")
            if self._config.source.startswith("gige:"):
                return
        if self._config.trigger in {None, "software"} and limit_s and silent_s > max(limit_s, grace_s):
            raise CameraError(f"it sent no picture for {silent_s:.1f} s")

    def _unanswered(self) -> Iterator[Frame]:
        """Yields the frames of triggers that will get no picture."""
        for trigger, why in [] if self._triggers is None else self._triggers.unanswered():
            yield self._frame(trigger.asked_at, trigger.asked, part=trigger.part, fault=why)

    def _take(self, shot: Shot) -> Frame:
        if self._triggers is not None and shot.trigger is not None:
            self._triggers.answer(shot.trigger)
        picture = shot.picture
        if self.lost_frames is not None:
            self.lost_frames += picture.lost
        return self._frame(
            picture.captured_at, picture.captured, image=picture.image, part=picture.part, fault=picture.fault
        )

    def _check_black(self, image: Image | None) -> None:
        if image is None:
            return
        if float(image[::16, ::16].mean()) >= _BLACK_MEAN:
            self._black, self._trouble = 0, None
            self._backoff.recovered()
            return
        self._black += 1
        if self._black < _BLACK_FRAMES:
            self._trouble = None
        elif self._black == _BLACK_FRAMES:
            self._black_since, self._trouble = time.monotonic(), _BLACK
            log.warning("camera %s (%s): %s", self.camera, self._address, _BLACK)
        elif not self._video and time.monotonic() - self._black_since > self._backoff.pause_s:
            self._black_since = time.monotonic()
            raise _Dark(_BLACK)
