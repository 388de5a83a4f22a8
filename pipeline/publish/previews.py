"""Makes previews: small pictures for people who look at the line. No verdict waits for one."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.image import Image
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.decided import Decided
from pipeline.flow.priority import give_way
from pipeline.flow.rate_limited_log import RateLimitedLog
from pipeline.flow.stage import Stage
from pipeline.protocol.preview import MOST_SIDE, Preview, pack_preview
from pipeline.protocol.verdict import Verdict

log = logging.getLogger(__name__)

_WAITING, _MADE = 4, 8
_JPEG_QUALITY = 80
_NICE = 5
_COMPLAIN_S = 60.0


@dataclass(frozen=True)
class _Wanted:
    verdict: Verdict
    image: Image


class PreviewMaker(Stage):
    """Makes a JPEG of some frames: so many a second for each camera, and of every `ng`.

    The publisher offers frames that it has published, and sends what `take` returns. Where this thread is busy, frames
    are dropped; where nobody subscribes, none is taken.

    Args:
        rate: the most previews a second for each camera, besides those of `ng` frames.
        wanted: whether anybody subscribes to previews.
        clock: tells the time.
    """

    restarts = 3

    def __init__(self, rate: float, wanted: Callable[[], bool], clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__("previews", clock)
        self._every_ns, self._is_wanted = round(1e9 / rate), wanted
        self._waiting: queue.Queue[_Wanted | None] = queue.Queue(_WAITING + 1)
        self._made: deque[list[bytes]] = deque(maxlen=_MADE)
        self._intervals: dict[str, int] = {}
        self._over = threading.Event()
        self._count = self._dropped = 0
        self._warnings = RateLimitedLog(log, 1, _COMPLAIN_S)

    def offer(self, decided: Decided) -> None:
        """Takes a published frame, or drops it; never waits."""
        verdict, image = decided.verdict, decided.frame.image
        if image is None or not self._is_wanted():
            return
        # One in each interval of the clock, so that frames that come a little early or late do not lower the rate.
        interval = self._clock.monotonic_ns() // self._every_ns
        if self._intervals.get(verdict.camera) == interval and verdict.verdict != "ng":
            return
        if self._waiting.qsize() >= _WAITING:
            self._dropped += 1
            return
        self._intervals[verdict.camera] = interval
        self._waiting.put_nowait(_Wanted(verdict, image))

    def take(self) -> list[bytes] | None:
        """Returns the next message to send; None if none is ready."""
        try:
            return self._made.popleft()
        except IndexError:
            return None

    def work(self) -> None:
        """Makes previews until it is drained."""
        # A picture for people gives way to everything that a verdict needs.
        give_way(_NICE)
        while not self._over.is_set():
            wanted = self._waiting.get()
            if wanted is None:
                return
            try:
                self._made.append(pack_preview(make_preview(wanted.verdict, wanted.image)))
                self._count += 1
            except Exception as error:  # noqa: BLE001 - the line must not end because of a picture for people
                self._dropped += 1
                self._warnings.warning("no preview of %s frame %d could be made (%s)", wanted.verdict.camera,
                                       wanted.verdict.sequence, error)  # fmt: skip

    def drain(self) -> None:
        """Lets the stage end; frames that wait are dropped."""
        if not self._over.is_set():
            self._over.set()
            self._waiting.put(None)

    def status(self) -> dict[str, Any]:
        """Returns the numbers of previews made and dropped."""
        return {"made": self._count, "dropped": self._dropped}


def make_preview(verdict: Verdict, image: Image) -> Preview:
    """Makes the preview of a frame; one that is small enough keeps its size.

    Raises:
        ValueError: OpenCV cannot make a JPEG of it.
    """
    frame_h, frame_w = image.shape[:2]
    shrink = min(1.0, MOST_SIDE / max(frame_h, frame_w))
    w, h = (max(1, round(side * shrink)) for side in (frame_w, frame_h))
    small: npt.NDArray[Any] = image
    if shrink < 1.0:
        # To average all pixels of a large frame would take longer than all else: a few for each of the preview do.
        every = max(1, int(0.5 / shrink))
        small = cv2.resize(np.ascontiguousarray(image[::every, ::every]), (w, h), interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(small), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise ValueError("OpenCV cannot encode it")
    return Preview(
        verdict.camera, verdict.epoch, verdict.sequence, verdict.captured_at, w, h, frame_w, frame_h, jpeg.tobytes()
    )
