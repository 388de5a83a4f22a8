"""The books of the line: every frame that came in is answered once, in its camera's order, within its takt."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from pipeline.flow.channel import Channel
from pipeline.flow.decided import Decided
from pipeline.flow.frame import Frame
from pipeline.flow.stage import Stage
from pipeline.line.judge import Judge
from pipeline.protocol.verdict import Reason

_MARGIN_SHARE = 0.03
_MOST_MARGIN_NS = 5_000_000


class Ledger(Stage):
    """Holds every frame from its capture until its answer has gone out.

    Whoever answers first is heard; later answers count for nothing. A frame whose deadline comes before its answer is
    answered `uninspected`, reason `late`, whatever holds it up: a gate can still act. Answers of one camera leave in
    the order of its frames.

    Args:
        judge: words the answers of frames that were not inspected.
        cameras: their names.
        outbox: where answers go.
        takt_ns: how long after its capture a frame's answer is of use, or None for as long as it takes.
    """

    def __init__(self, judge: Judge, cameras: Sequence[str], outbox: Channel[Decided], takt_ns: int | None) -> None:
        super().__init__("ledger")
        self._judge, self._outbox = judge, outbox
        self._frames: dict[str, deque[Frame]] = {name: deque() for name in cameras}
        self._answers: dict[tuple[str, int], Decided] = {}
        self._open = set(cameras)
        self._changed = threading.Condition()
        # The answer must have left by the deadline, so it is given a little earlier.
        margin = 0 if takt_ns is None else min(_MOST_MARGIN_NS, int(_MARGIN_SHARE * takt_ns))
        self._patience = None if takt_ns is None else takt_ns - margin
        self._broken = False

    def use(self, judge: Judge) -> None:
        """Words answers by another bundle from now on."""
        with self._changed:
            self._judge = judge

    def open(self, frame: Frame) -> None:
        """Enters a frame that was captured."""
        if self._patience is not None:
            frame.deadline = frame.captured + self._patience
        with self._changed:
            self._frames[frame.camera].append(frame)
            if self._broken:
                self._give_up(frame, "engine_error")
            self._changed.notify_all()

    def answer(self, decided: Decided) -> None:
        """Enters the answer to a frame; one that has an answer keeps it."""
        with self._changed:
            self._enter(decided)
            self._changed.notify_all()

    def give_up(self, frame: Frame, reason: Reason) -> None:
        """Answers for a frame that is not inspected."""
        with self._changed:
            self._give_up(frame, reason)
            self._changed.notify_all()

    def close_camera(self, camera: str) -> None:
        """Says that a camera sends no more."""
        with self._changed:
            self._open.discard(camera)
            self._changed.notify_all()

    def break_off(self) -> None:
        """Answers everything that is open, and all that still comes, with `engine_error`."""
        with self._changed:
            self._broken = True
            for queue in self._frames.values():
                for frame in queue:
                    self._give_up(frame, "engine_error")
            self._changed.notify_all()

    def work(self) -> None:
        """Sends answers out until every camera has ended and every frame is answered."""
        while True:
            with self._changed:
                # Not `wait_for`: with every frame that comes the next deadline may be another.
                if not (self._ready() or self._ended()):
                    self._changed.wait(self._until_deadline())
                self._expire(time.monotonic_ns())
                answers = self._take()
                ended = self._ended()
            for decided in answers:
                self._outbox.put(decided)
            if ended:
                return

    def finish(self) -> None:
        """Ends the answers."""
        self._outbox.close()

    def _enter(self, decided: Decided) -> None:
        if not decided.frame.answered:
            decided.frame.answered = True
            self._answers[decided.frame.camera, decided.frame.sequence] = decided

    def _give_up(self, frame: Frame, reason: Reason) -> None:
        if not frame.answered:
            self._enter(self._judge.uninspected(frame, reason))
            # It may have to wait for the answers before it, but its picture need not: overload must not fill memory.
            frame.image = frame.encoded = None

    def _ready(self) -> bool:
        return any(queue and queue[0].answered for queue in self._frames.values())

    def _ended(self) -> bool:
        return (self._broken or not self._open) and not any(self._frames.values())

    def _until_deadline(self) -> float | None:
        # Deadlines of one camera come in the order of its frames, so the first that is open is the next.
        deadlines = [queue[0].deadline for queue in self._frames.values() if queue and queue[0].deadline is not None]
        return None if not deadlines else max(0.0, (min(deadlines) - time.monotonic_ns()) / 1e9)

    def _expire(self, now: int) -> None:
        for queue in self._frames.values():
            for frame in queue:
                if frame.deadline is None or frame.deadline > now:
                    break
                self._give_up(frame, "late")

    def _take(self) -> list[Decided]:
        answers = []
        for camera, queue in self._frames.items():
            while queue and queue[0].answered:
                frame = queue.popleft()
                answers.append(self._answers.pop((camera, frame.sequence)))
        return answers
