"""A shadow run: a candidate judges parts beside the running bundle, where the takt leaves time, and nobody sees it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from engines.apart import EngineApart
from engines.bundle import Bundle
from engines.errors import TaktlineError
from engines.foreign import translated
from engines.image import resize_frame
from engines.overlay import draw_tiles
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.decided import Decided
from pipeline.flow.priority import give_way
from pipeline.line.gaps import Gaps
from pipeline.line.judge import Judge
from pipeline.line.service_time import quantile
from pipeline.line.shadow_record import ShadowPart, ShadowRecord

log = logging.getLogger(__name__)

# For each part to judge, so many may pass for which there was no time.
_MOST_SKIPPED = 80
# The next frame finds the processor's caches full of the candidate, and is slower for it. So it rests so many times as
# long as it worked, and most frames find them as they left them.
_RESTS = 3
_MOST_S = 24 * 3600.0
_REMEMBERED, _FEW = 500, 5
_SURE = 0.95
_TICK_S = 0.2
_NICE = 5
_CLOSE_S = 5.0


@dataclass(frozen=True)
class Beside:
    """What a shadow run needs of its line.

    Attributes:
        running: the bundle that inspects.
        open: opens a candidate's engine; ends at once when the event is set.
        judge: makes the candidate's judge, with the line's settings.
        idle_since: when the engine became idle, monotonic nanoseconds; None while anything waits or is inspected.
        frame_ns: what a batch of one takes the line's engine; None if that is not known.
    """

    running: Bundle
    open: Callable[[Bundle, threading.Event], EngineApart]
    judge: Callable[[Bundle, EngineApart], Judge]
    idle_since: Callable[[], int | None]
    frame_ns: Callable[[], int | None]


class ShadowRun:
    """Lets a candidate judge parts that the line has judged, until there are enough.

    The line's publisher offers every frame once its verdict is out. A frame is taken if nothing else waits or is in the
    engine, and the candidate has answered for the one before and has rested; on a device other than a CPU, which gives
    way to nobody, instead of the rest only if it will be done before the next frame is expected. All others are skipped
    and counted. The candidate computes in a process of its own: see `EngineApart`. Whatever goes wrong with it ends the
    run with the reason, and nothing else.

    Args:
        bundle: the candidate.
        count: how many parts it judges.
        beside: what it needs of the line.
        clock: tells the time.

    Attributes:
        record: what was found.
        state: `opening`, `running`, `done`, or `ended` before it was done.
        reason: why it ended.
    """

    def __init__(self, bundle: Bundle, count: int, beside: Beside, clock: Clock = SYSTEM_CLOCK) -> None:
        self.bundle, self._count, self._beside, self._clock = bundle, count, beside, clock
        self.record = ShadowRecord()
        self.state = "opening"
        self.reason: str | None = None
        self._gaps = Gaps()
        self._box: queue.SimpleQueue[Decided] = queue.SimpleQueue()
        self._free = self._yields = False
        self._skipped = 0
        self._times: deque[int] = deque(maxlen=_REMEMBERED)
        self._undisturbed: deque[int] = deque(maxlen=_REMEMBERED)
        self._stop, self._ending = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Opens the candidate and begins, on a thread of its own."""
        self._thread.start()

    def offer(self, decided: Decided) -> None:
        """Takes a frame whose verdict is out, or skips it; never waits."""
        frame, verdict = decided.frame, decided.verdict
        self._gaps.note(frame.camera, frame.captured)
        inspected = decided.sigma is not None and frame.image is not None
        if self.state != "running" or not inspected or verdict.bundle != self._beside.running.short_id:
            return
        if self._free and self._has_time():
            self._free = False
            self._box.put(decided)
            return
        self._skipped += 1
        if self._skipped >= _MOST_SKIPPED * self._count:
            judged = len(self.record)
            total = judged + self._skipped
            self.end(f"there was time for only {judged} of {total} parts: the line is busy, or the candidate is slow")

    def end(self, reason: str) -> None:
        """Ends the run before it is done; returns at once."""
        with self._ending:
            if self.state in {"opening", "running"}:
                self.reason, self.state = reason, "ended"
        self._stop.set()

    def close(self, deadline: float | None = None) -> None:
        """Ends the run and waits for its thread.

        Raises:
            TimeoutError: it does not end in time.
        """
        self.end("the line ended")
        if self._thread.ident is not None:
            self._thread.join(_CLOSE_S if deadline is None else deadline)
            if self._thread.is_alive():
                raise TimeoutError("the shadow run does not end")

    def status(self) -> dict[str, Any]:
        """Returns how far it is, what both bundles said, and what a frame costs either, as plain values."""
        old_ns, period = self._beside.frame_ns(), self._gaps.period_ns
        return {
            "bundle": self.bundle.short_id, "path": str(self.bundle.path), "beside": self._beside.running.short_id,
            "state": self.state, "reason": self.reason, "wanted": self._count, "skipped": self._skipped,
            **self.record.counts(),
            "cost_ms": {"old": _ms(old_ns), "new": _ms(self._cost())},
            "period_ms": _ms(period),
        }  # fmt: skip

    def _has_time(self) -> bool:
        """Whether nothing else is to be done now, nor before the candidate will be done."""
        if self._beside.idle_since() is None:
            return False
        if self._yields:
            return True
        now = self._clock.monotonic_ns()
        # The first frame shows how long one takes.
        sure = quantile(self._times, _SURE) if self._times else 0
        return now + sure <= self._gaps.next_expected(now)

    def _cost(self) -> int | None:
        """What a frame takes the candidate where nothing interrupts it."""
        times = list(self._undisturbed)
        if len(times) >= _FEW:
            return quantile(times, 0.5)
        return min(self._times, default=None)

    def _run(self) -> None:
        # Python's part of it gives way, too, but only a little: it holds the interpreter's lock now and then.
        give_way(_NICE)
        try:
            with translated("the shadow run failed"), self._beside.open(self.bundle, self._stop) as engine:
                judge = self._beside.judge(self.bundle, engine)
                self._yields = engine.yields
                with self._ending:
                    if self.state == "opening":
                        self.state = "running"
                self._judge_all(engine, judge)
        except TaktlineError as error:
            self.end(f"the candidate failed: {error}")
        if self.state == "ended":
            log.warning("the shadow run of %s ended: %s", self.bundle.path, self.reason)

    def _judge_all(self, engine: EngineApart, judge: Judge) -> None:
        until = time.monotonic() + _MOST_S
        while not self._stop.is_set():
            self._free = True
            try:
                decided = self._box.get(timeout=_TICK_S)
            except queue.Empty:
                if time.monotonic() > until:
                    self.end(f"{self._count} parts did not come within {_MOST_S / 3600:g} hours")
                continue
            began = time.monotonic()
            self._judge(engine, judge, decided)
            if len(self.record) >= self._count:
                with self._ending:
                    if self.state == "running":
                        self.state = "done"
                return
            if self._yields:
                self._stop.wait(_RESTS * (time.monotonic() - began))

    def _judge(self, engine: EngineApart, judge: Judge, decided: Decided) -> None:
        frame, verdict = decided.frame, decided.verdict
        assert frame.image is not None and decided.sigma is not None and verdict.score is not None
        before = self._beside.idle_since()
        scores = engine.infer(resize_frame(frame.image, self.bundle.size)[None])
        assert scores.timing is not None
        self._times.append(scores.timing.compute)
        if before is not None and before == self._beside.idle_since():
            self._undisturbed.append(scores.timing.compute)
        found = judge.inspected(frame, scores, 0)
        score, said = found.verdict.score, found.verdict.verdict
        if score is None or not np.isfinite(score):
            raise TaktlineError(f"its score of {frame.camera} frame {frame.sequence} is not a number")
        ng = verdict.verdict == "ng", said == "ng"
        picture = overlay = None
        if ng[0] != ng[1] and self.record.has_room:
            heat, bundle = (decided.sigma, self._beside.running) if ng[0] else (scores.heatmap[0], self.bundle)
            picture, overlay = draw_tiles(frame.image, heat, bundle.manifest.heatmap)
        self.record.add(ShadowPart(frame.camera, frame.sequence, (verdict.score, score), ng, picture, overlay))


def _ms(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else round(nanoseconds / 1e6, 3)
