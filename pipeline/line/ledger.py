"""The ledger of the line: every frame that came in is answered once, in its camera's order, within its takt."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from pipeline.flow.channel import Channel, ChannelClosed
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.decided import Decided
from pipeline.flow.frame import Frame
from pipeline.flow.stage import Stage
from pipeline.line.model import ModelSlot
from pipeline.protocol.verdict import Reason

_MARGIN_SHARE = 0.03
_MOST_MARGIN_NS = 5_000_000
_DRAIN_S = 5.0


class Ledger(Stage):
    """Holds every frame from its capture until its answer has gone out.

    The first answer to a frame counts; later ones are ignored. If a frame's deadline passes without an answer, it is
    answered `uninspected`, reason `late`, whatever delays it, so that a gate can still act. Answers of one camera leave
    in the order of its frames.

    Args:
        slot: holds the model whose judge answers frames that were not inspected.
        cameras: names of the cameras.
        outbox: where answers go.
        takt_ns: how long after its capture a frame's answer is useful; None for no limit.
        drain_s: how long the line may take to drain, in seconds. Frames without an answer by then are answered
            `engine_error`, even if something hangs.
        clock: tells the time.
    """

    def __init__(
        self,
        slot: ModelSlot,
        cameras: Sequence[str],
        outbox: Channel[Decided],
        takt_ns: int | None,
        drain_s: float = _DRAIN_S,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__("ledger", clock)
        self._slot, self._outbox = slot, outbox
        self._frames: dict[str, deque[Frame]] = {name: deque() for name in cameras}
        self._answers: dict[tuple[str, int], Decided] = {}
        self._open = set(cameras)
        self._changed = threading.Condition()
        # The answer must have left by the deadline, so it is given slightly earlier.
        margin = 0 if takt_ns is None else min(_MOST_MARGIN_NS, int(_MARGIN_SHARE * takt_ns))
        self._patience = None if takt_ns is None else takt_ns - margin
        self._drain_ns = int(drain_s * 1e9)
        self._drained_by: int | None = None
        self._aborted = self._over = False

    def open(self, frame: Frame) -> None:
        """Enters a frame that was captured.

        Raises:
            ChannelClosed: the ledger has ended, so the frame came too late.
        """
        if self._patience is not None:
            frame.deadline = frame.captured + self._patience
        with self._changed:
            if self._over:
                raise ChannelClosed
            self._frames[frame.camera].append(frame)
            if self._aborted:
                self._give_up(frame, "engine_error")
            self._changed.notify_all()

    def answer(self, decided: Decided) -> None:
        """Enters the answer to a frame, unless it already has one."""
        with self._changed:
            self._enter(decided)
            self._changed.notify_all()

    def give_up(self, frame: Frame, reason: Reason) -> None:
        """Answers a frame that is not inspected."""
        with self._changed:
            self._give_up(frame, reason)
            self._changed.notify_all()

    def close_camera(self, camera: str) -> None:
        """Notes that a camera sends no more."""
        with self._changed:
            self._open.discard(camera)
            self._changed.notify_all()

    def drain(self) -> None:
        """Lets the frames in the line be inspected, but only for `drain_s` seconds."""
        with self._changed:
            if self._drained_by is None:
                self._drained_by = self._clock.monotonic_ns() + self._drain_ns
            self._changed.notify_all()

    def abort(self) -> None:
        """Answers all open frames, and all that still come, with `engine_error`."""
        with self._changed:
            self._abort()
            self._changed.notify_all()

    def work(self) -> None:
        """Sends answers out until every camera has ended and every frame is answered."""
        while True:
            with self._changed:
                # A frame that comes in may bring the next deadline forward.
                moment = self._next_moment()
                self._clock.wait_for(
                    self._changed,
                    lambda: self._ready() or self._ended() or self._next_moment() != moment,  # noqa: B023
                    None if moment is None else max(0.0, (moment - self._clock.monotonic_ns()) / 1e9),
                )
            for decided in self.step(self._clock.monotonic_ns()):
                self._outbox.put(decided)
            if self._over:
                return

    def step(self, now: int) -> list[Decided]:
        """Answers frames whose deadline has passed, and returns the answers that may leave, in order."""
        with self._changed:
            self._expire(now)
            answers = self._take()
            self._over = self._ended()
            return answers

    def next_moment(self) -> int | None:
        """Returns the next deadline, monotonic nanoseconds; None if there is none."""
        with self._changed:
            return self._next_moment()

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._frames.values())

    def ended(self) -> None:
        """Closes the queue of answers."""
        with self._changed:
            self._over = True
        self._outbox.close()

    def _enter(self, decided: Decided) -> None:
        if not decided.frame.answered:
            decided.frame.answered = True
            self._answers[decided.frame.camera, decided.frame.sequence] = decided

    def _give_up(self, frame: Frame, reason: Reason) -> None:
        if not frame.answered:
            self._enter(self._slot.current.judge.uninspected(frame, reason))
            # Its answer may have to wait for earlier ones, but its picture need not: overload must not fill memory.
            frame.image = frame.encoded = None

    def _abort(self) -> None:
        self._aborted = True
        for queue in self._frames.values():
            for frame in queue:
                self._give_up(frame, "engine_error")

    def _ready(self) -> bool:
        return any(queue and queue[0].answered for queue in self._frames.values())

    def _ended(self) -> bool:
        return (self._aborted or not self._open) and not any(self._frames.values())

    def _next_moment(self) -> int | None:
        """Returns when something is due next, monotonic nanoseconds; None if nothing is."""
        # Deadlines of one camera come in the order of its frames, so the first open one is the next.
        moments = [queue[0].deadline for queue in self._frames.values() if queue and queue[0].deadline is not None]
        if self._drained_by is not None:
            moments.append(self._drained_by)
        return min(moments, default=None)

    def _expire(self, now: int) -> None:
        for queue in self._frames.values():
            for frame in queue:
                if frame.deadline is None or frame.deadline > now:
                    break
                self._give_up(frame, "late")
        if self._drained_by is not None and now >= self._drained_by:
            self._abort()

    def _take(self) -> list[Decided]:
        answers = []
        for camera, queue in self._frames.items():
            while queue and queue[0].answered:
                frame = queue.popleft()
                answers.append(self._answers.pop((camera, frame.sequence)))
        return answers
