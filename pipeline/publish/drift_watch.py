"""Watches whether good parts still look as they did at calibration. It decides nothing, and no verdict waits for it."""

from __future__ import annotations

import dataclasses
import logging
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.bundle import Bundle
from engines.errors import TaktlineError
from engines.image import Image
from engines.look_meter import LookMeter, open_meter
from pipeline.config.line_file import LineConfig
from pipeline.config.sections import DriftSection
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.frame import Frame
from pipeline.flow.priority import give_way
from pipeline.flow.rate_limited_log import RateLimitedLog
from pipeline.flow.stage import Stage
from pipeline.journal.events import write_event
from pipeline.journal.store import Journal
from pipeline.protocol.event import Event, event_sentence, pack_event
from pipeline.protocol.verdict import Verdict
from pipeline.publish.camera_drift import CameraDrift, Mark

log = logging.getLogger(__name__)

_WAITING, _SCORES, _EVENTS = 8, 2_000, 200
_POLL_S = 0.5
_NICE = 10
# It rests so many times as long as it worked: at the highest frame rates it looks at some parts only.
_RESTS = 19
_COMPLAIN_S = 60.0
_UNKNOWN = (
    "the bundle does not know what good parts look like, because an older Taktline made it; calibrate it anew, or "
    "adapt it to good parts of today"
)


@dataclass(frozen=True)
class _Seen:
    camera: str
    mark: Mark
    size: tuple[int, int]
    image: Image


class DriftWatch(Stage):
    """Compares frames and verdicts with what the bundle knows of good parts, by one test for each quantity.

    The batcher offers frames at the network's size, and the publisher verdicts that are out. Where this thread is busy,
    frames are dropped. Events go to the log, into the journal, and to the publisher, which sends them.

    Args:
        settings: how rarely it may be wrong.
        line: name of the line.
        cameras: names of its cameras.
        bundle: returns the bundle that runs. With another one, the watch begins anew.
        journal: keeps the events; None for a line without one.
        clock: tells the time.
    """

    restarts = 3

    def __init__(
        self,
        settings: DriftSection,
        line: str,
        cameras: Sequence[str],
        bundle: Callable[[], Bundle],
        journal: Journal | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__("drift watch", clock)
        self._settings, self._line, self._names = settings, line, tuple(cameras)
        self._current, self._journal = bundle, journal
        self._bundle: Bundle | None = None
        self._meter: LookMeter | None = None
        self._why_not: str | None = None
        self._cameras: dict[str, CameraDrift] = {}
        self._last: dict[str, Mark] = {}
        self._epochs: dict[str, str] = {}
        self._frames: queue.Queue[_Seen | None] = queue.Queue(_WAITING + 1)
        # New memory for every frame would take longer than to copy it.
        self._spare: deque[Image] = deque(maxlen=_WAITING + 1)
        self._scores: deque[Verdict] = deque(maxlen=_SCORES)
        self._unwritten: deque[Event] = deque(maxlen=_EVENTS)
        self._unsent: deque[list[bytes]] = deque(maxlen=_EVENTS)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._rests_until = self._skipped = 0
        self._warnings = RateLimitedLog(log, 1, _COMPLAIN_S)

    def see(self, frames: Sequence[Frame], images: Image) -> None:
        """Takes the frames of a batch, or drops them; never waits.

        Args:
            frames: they have been decoded.
            images: the same at the network's size, `[N, H, W, 3]`; copied before this returns.
        """
        resting = time.monotonic_ns() < self._rests_until or self._why_not is not None
        for row, frame in enumerate(frames):
            if resting or self._frames.qsize() >= _WAITING:
                self._skipped += 1
                continue
            image = images[row]
            whole = image if frame.image is None else frame.image
            mark = Mark(frame.sequence, frame.captured_at)
            self._frames.put_nowait(_Seen(frame.camera, mark, (whole.shape[0], whole.shape[1]), self._copy(image)))

    def _copy(self, image: Image) -> Image:
        try:
            memory = self._spare.pop()
        except IndexError:
            return image.copy()
        np.copyto(memory, image)
        return memory

    def judged(self, verdict: Verdict) -> None:
        """Takes a verdict that is out; never waits."""
        self._epochs[verdict.camera] = verdict.epoch
        if verdict.verdict != "uninspected" and self._why_not is None:
            self._scores.append(verdict)

    def take(self) -> list[bytes] | None:
        """Returns the next event's message to send; None if there is none."""
        try:
            return self._unsent.popleft()
        except IndexError:
            return None

    def work(self) -> None:
        """Watches until it is drained."""
        give_way(_NICE)
        while not self._over.is_set():
            seen: _Seen | None = None
            with suppress(queue.Empty):
                seen = self._frames.get(timeout=_POLL_S)
            began = time.thread_time_ns()
            try:
                self._follow_bundle()
                # To open a bundle is no part of what a frame costs.
                began = time.thread_time_ns()
                self._step(seen)
            except Exception as error:  # noqa: BLE001 - the line must not end because of what only watches
                self._warnings.warning("the drift watch missed something (%s: %s)", type(error).__name__, error)
            if seen is not None:
                self._spare.append(seen.image)
            self._rests_until = time.monotonic_ns() + _RESTS * (time.thread_time_ns() - began)

    def _step(self, seen: _Seen | None) -> None:
        """Looks at a frame, if there is one, and at the verdicts that have come."""
        events: list[Event] = []
        if seen is not None and self._meter is not None:
            values = self._meter.measure(seen.image)
            self._last[seen.camera] = seen.mark
            with self._lock:
                events += self._cameras[seen.camera].look(values, seen.size, seen.mark)
        while self._scores:
            verdict = self._scores.popleft()
            # Those of the bundle before may still be on their way.
            if self._bundle is not None and verdict.bundle == self._bundle.short_id and self._cameras:
                with self._lock:
                    events += self._cameras[verdict.camera].judge(verdict)
        self._tell(events)
        self._write()

    def drain(self) -> None:
        """Lets the stage end; frames that wait are dropped."""
        if not self._over.is_set():
            self._over.set()
            with suppress(queue.Full):
                self._frames.put_nowait(None)

    def status(self) -> dict[str, Any]:
        """Returns what has moved at each camera; `why_not` says why nothing is watched, or is None."""
        with self._lock:
            cameras = {name: camera.status() for name, camera in self._cameras.items()}
        return {
            "why_not": self._why_not,
            "parts_per_false_alarm": self._settings.parts_per_false_alarm,
            "skipped": self._skipped,
            "cameras": cameras,
        }

    def _follow_bundle(self) -> None:
        bundle = self._current()
        if bundle is self._bundle:
            return
        ended = [
            event
            for name, camera in self._cameras.items()
            for event in camera.restarted(self._last.get(name, Mark(0, self._clock.wall_ns())))
        ]
        self._bundle, self._meter, cameras = bundle, None, {}
        try:
            self._meter = open_meter(bundle)
            self._why_not = _UNKNOWN if self._meter is None else None
        except TaktlineError as error:
            self._why_not = str(error)
        if self._meter is not None:
            every = self._settings.parts_per_false_alarm
            cameras = {name: CameraDrift(self._line, name, bundle, every) for name in self._names}
        with self._lock:
            self._cameras = cameras
        self._tell(ended)

    def _tell(self, events: Sequence[Event]) -> None:
        for plain in events:
            event = dataclasses.replace(plain, epoch=self._epochs.get(plain.camera, ""))
            log.warning("%s%s", event_sentence(event), f"; {event.remedy}" if event.remedy else "")
            self._unwritten.append(event)
            self._unsent.append(pack_event(event))

    def _write(self) -> None:
        """Enters events into the journal; what the disk does not take now is tried again with the next frame."""
        if self._journal is None:
            self._unwritten.clear()
        while self._unwritten:
            try:
                with self._journal.writing() as connection:  # type: ignore[union-attr]
                    write_event(connection, self._unwritten[0])
            except sqlite3.Error as error:
                self._warnings.warning("events cannot be journaled (%s); they are published anyway", error)
                return
            self._unwritten.popleft()


def open_watch(
    config: LineConfig, bundle: Callable[[], Bundle], journal: Journal | None, clock: Clock
) -> DriftWatch | None:
    """Returns the watch that a line's settings ask for; None for a line without one."""
    if not config.drift.enabled:
        return None
    return DriftWatch(config.drift, config.line.name, [one.name for one in config.camera], bundle, journal, clock)
