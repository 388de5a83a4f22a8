"""Looks through every camera of a line and says how its pictures differ from those of calibration."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.dataset import list_images
from engines.bundle import Bundle
from engines.errors import ConfigError, DataError, TaktlineError
from engines.image import Image, read_image, resize_frame, to_bgr
from engines.look_meter import LookMeter, open_meter
from engines.look_words import Difference, describe
from engines.looks import QUANTITIES, Quantity
from pipeline.config.camera import CameraConfig
from pipeline.flow.arrangement import Arrangement
from pipeline.flow.frame import Frame
from pipeline.sources import open_source

# A good part is further away than this once in 370 times for one quantity.
_MOST_LEVEL = 3.0
_JOIN_S = 2.0
_PLACE = ("x", "y", "rotation")


@dataclass(frozen=True)
class Off:
    """A quantity that is off.

    Attributes:
        quantity: its name.
        level: how far, in standard deviations of good parts.
        difference: the same in words.
    """

    quantity: Quantity
    level: float
    difference: Difference


@dataclass(frozen=True)
class CameraCheck:
    """What a look through one camera showed.

    Attributes:
        camera: its name.
        trouble: why nothing could be seen, or None.
        pictures: number of pictures that were looked at.
        off: what differs from calibration, the worst first.
        place_known: whether good parts lie alike, so that a shift can be told.
        picture: one of them, uint8 BGR; None where there is none.
    """

    camera: str
    trouble: str | None
    pictures: int = 0
    off: tuple[Off, ...] = ()
    place_known: bool = True
    picture: Image | None = None

    @property
    def good(self) -> bool:
        """Whether the camera sees what it saw at calibration."""
        return self.trouble is None and not self.off

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.trouble is not None:
            return f"camera {self.camera} cannot be checked: {self.trouble}"
        if not self.off:
            place = "" if self.place_known else " (parts lie anyhow, so a shift cannot be told)"
            return f"camera {self.camera} sees parts as at calibration{place}"
        return f"camera {self.camera}: {', '.join(one.difference.words for one in self.off)}"

    @property
    def remedies(self) -> list[str]:
        """What to do, each thing once."""
        return list(dict.fromkeys(one.difference.remedy for one in self.off))

    def to_json(self) -> dict[str, Any]:
        """Returns the result as plain values, without the picture."""
        return {
            "camera": self.camera,
            "good": self.good,
            "trouble": self.trouble,
            "pictures": self.pictures,
            "place_known": self.place_known,
            "words": self.sentence,
            "remedies": self.remedies,
            "off": [
                {"quantity": one.quantity, "level": round(one.level, 2), "amount": round(one.difference.amount, 3),
                 "unit": one.difference.unit, "words": one.difference.words}
                for one in self.off
            ],
        }  # fmt: skip


def check_camera(config: CameraConfig, bundle: Bundle, count: int, timeout: float) -> CameraCheck:
    """Takes some pictures of a camera and compares them with those of good parts. It opens the camera by itself.

    Args:
        config: the camera's settings.
        bundle: knows what good parts look like.
        count: how many pictures to take; fewer do if the source has no more.
        timeout: seconds to wait for them.

    Raises:
        ConfigError: the bundle does not know what good parts look like.
    """
    meter = open_meter(bundle)
    if meter is None:
        raise ConfigError(
            f"the bundle {bundle.path} does not know what good parts look like, because an older Taktline made it; "
            "calibrate it anew, or adapt it to good parts of today"
        )
    try:
        images = _newest(config, count) if config.source.startswith("folder:") else _take(config, count, timeout)
    except TaktlineError as error:
        return CameraCheck(config.name, str(error))
    return compare(config.name, images, bundle, meter)


def compare(camera: str, images: Sequence[Image], bundle: Bundle, meter: LookMeter) -> CameraCheck:
    """Compares a camera's pictures with those of good parts; one odd part among three or more counts for nothing."""
    looks = bundle.manifest.looks
    assert looks is not None
    rows = []
    for image in images:
        frame = resize_frame(image, bundle.size)
        rows.append([*meter.measure(frame)[: -len(_PLACE)], *meter.align(frame)])
    wider = math.sqrt(1 + 1 / looks.samples) * (1 + 5 / (4 * (looks.samples - 1)))
    found = []
    for name, value in zip(QUANTITIES, np.median(rows, axis=0).tolist(), strict=True):
        trait = looks.traits.get(name)
        if trait is None:
            continue
        away = value - trait.mean
        level = away / (wider * trait.spread)
        if not abs(level) <= _MOST_LEVEL:
            found.append(Off(name, level, describe(name, away, images[0].shape[:2])))
    found.sort(key=lambda one: -abs(one.level))
    return CameraCheck(camera, None, len(images), tuple(found), "x" in looks.traits, images[0])


def _newest(config: CameraConfig, count: int) -> list[Image]:
    """Reads the newest pictures of a folder; its line, if one runs, is not disturbed."""
    root = Path(config.source.partition(":")[2])
    paths = sorted(list_images(root), key=lambda path: path.stat().st_mtime_ns)[-count:]
    if not paths:
        raise DataError(f"the folder {root} holds no pictures; put some of good parts there")
    arrange = Arrangement(config.roi, config.rotate)
    return [arrange.apply(read_image(path)) for path in paths]


def _take(config: CameraConfig, count: int, timeout: float) -> list[Image]:
    """Takes pictures from a source of any kind.

    Raises:
        TaktlineError: it cannot be opened, or gave no picture in time.
    """
    source = open_source(config.model_copy(update={"fps": config.fps if config.source.startswith("gige:") else None}))
    stop, frames = threading.Event(), queue.Queue[Frame | None](count)

    def read() -> None:
        try:
            for frame in source.frames(stop):
                # What nobody waits for any more is given up.
                while not stop.is_set():
                    with suppress(queue.Full):
                        frames.put(frame, timeout=0.1)
                        break
        finally:
            with suppress(queue.Full):
                frames.put_nowait(None)

    # A camera that never answers must not keep the command alive.
    thread = threading.Thread(target=read, name=f"look through {config.name}", daemon=True)
    thread.start()
    images: list[Image] = []
    fault: str | None = None
    until = time.monotonic() + timeout
    try:
        while len(images) < count and (left := until - time.monotonic()) > 0:
            if config.trigger == "software" and source.trouble is None:
                source.trigger(None)
            try:
                frame = frames.get(timeout=min(left, 1.0))
            except queue.Empty:
                continue
            if frame is None:
                break
            try:
                frame.decode()
            except DataError as error:
                frame.fault = str(error)
            if frame.image is not None:
                images.append(to_bgr(frame.image))
            fault = frame.fault or fault
    finally:
        stop.set()
        thread.join(_JOIN_S)
        source.close()
    if not images:
        why = source.trouble or fault or f"it gave no picture within {timeout:g} s"
        raise DataError(f"{why}; if a line uses it now, stop the line, or see `taktline status` for what it watches")
    return images
