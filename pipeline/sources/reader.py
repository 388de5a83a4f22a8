"""A thread that opens and reads a camera, and that can be abandoned if a driver never returns."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, replace

from pipeline.config.camera import CameraConfig
from pipeline.sources.device import CameraError, Device, Picture, VideoEnded
from pipeline.sources.gige import GigeDevice
from pipeline.sources.stream import StreamDevice
from pipeline.sources.trigger import Trigger, Triggers
from pipeline.sources.usb import UsbDevice

_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture, and the trigger that requested it, if any."""

    picture: Picture
    trigger: Trigger | None = None


class Reader:
    """A thread that opens a device and reads it until it is abandoned or the device fails.

    Attributes:
        opened: whether the device is open.
        last: when the last picture came or, before that, when the thread started; monotonic seconds.
        grace_s: the least time to allow for the next picture; opening takes longer than the pause between two pictures.
    """

    def __init__(self, config: CameraConfig, triggers: Triggers | None) -> None:
        self._config, self._triggers = config, triggers
        self._over = threading.Event()
        self._shots: queue.Queue[Shot | CameraError | VideoEnded] = queue.Queue(2)
        self.opened = False
        self.last = time.monotonic()
        self.grace_s = config.open_timeout_ms / 1000
        if triggers is not None:
            triggers.admit(self)
        # A read that never returns must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=f"read {config.name}", daemon=True)
        self._thread.start()

    def take(self, timeout: float) -> Shot | None:
        """Waits for the next picture; None if none comes in time.

        Raises:
            CameraError: no more will come.
            VideoEnded: the video file has ended.
        """
        try:
            came = self._shots.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(came, Shot):
            return came
        raise came

    def abandon(self) -> list[Shot]:
        """Lets the thread end, abandons it if it hangs, and returns the pictures that were not taken."""
        if self._triggers is not None:
            self._triggers.dismiss()
        self._over.set()
        self._thread.join(3 * _POLL_S)
        left = []
        while not self._shots.empty():
            came = self._shots.get_nowait()
            if isinstance(came, Shot):
                left.append(came)
        return left

    def _run(self) -> None:
        try:
            with _open_device(self._config) as device:
                if self._triggers is not None:
                    self._triggers.arm(self, device.trigger)
                self.opened = True
                self._read(device)
        except (CameraError, VideoEnded) as error:
            self._hand_over(error)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises concerns only this camera
            fault = CameraError(f"it failed ({type(error).__name__}: {error})")
            fault.__cause__ = error
            self._hand_over(fault)

    def _read(self, device: Device) -> None:
        while not self._over.is_set():
            picture = device.read()
            if picture is None:
                continue
            self.last, self.grace_s = time.monotonic(), 0.0
            if self._triggers is None:
                self._hand_over(Shot(picture))
                continue
            trigger = self._triggers.match(self, picture.captured)
            # A camera that runs free takes pictures that nobody requested.
            if trigger is not None:
                self._hand_over(Shot(_asked_for(picture, trigger), trigger))

    def _hand_over(self, came: Shot | CameraError | VideoEnded) -> None:
        while not self._over.is_set():
            try:
                self._shots.put(came, timeout=_POLL_S)
                return
            except queue.Full:
                continue


def _asked_for(picture: Picture, trigger: Trigger) -> Picture:
    part = picture.part if trigger.part is None else trigger.part
    return replace(picture, captured_at=trigger.asked_at, captured=trigger.asked, part=part)


def _open_device(config: CameraConfig) -> Device:
    if config.source.startswith("usb:"):
        return UsbDevice(config)
    return GigeDevice(config) if config.source.startswith("gige:") else StreamDevice(config)
