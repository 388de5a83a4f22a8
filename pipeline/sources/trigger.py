"""Triggers that come as messages: each asks a camera for one picture, of one part."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engines.errors import TaktlineError
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.sources.device import CameraError

_MOST = 1000


@dataclass(frozen=True, slots=True)
class Trigger:
    """A picture that was asked for.

    Attributes:
        part: id of the part, where whoever asked knows it.
        asked_at: wall clock, nanoseconds since 1970 (UTC).
        asked: monotonic clock, nanoseconds.
    """

    part: str | None
    asked_at: int
    asked: int


class Triggers:
    """Every trigger of one camera, from the moment it is accepted until its picture, or the lack of one, is told.

    Whoever asks, the thread that reads the camera, and the source share it. A camera that hangs is read by a new thread
    while the old one may still wake up: only the reader that is admitted can arm the camera or take a trigger.

    Args:
        exclusive: whether a trigger that comes before the picture of the last one is refused. A camera may ignore it,
            and each later picture would go by the name of another part.
        clock: stamps the triggers.
    """

    def __init__(self, exclusive: bool, clock: Clock = SYSTEM_CLOCK) -> None:
        self._exclusive, self._clock = exclusive, clock
        self._waiting: deque[Trigger] = deque()
        self._matched: list[Trigger] = []
        self._unanswered: list[tuple[Trigger, str]] = []
        self._lock = threading.Lock()
        self._reader: object = None
        self._fire: Callable[[], None] | None = None
        self._closed = False

    def ask(self, part: str | None) -> None:
        """Asks for a picture.

        Raises:
            CameraError: the trigger is accepted, but the camera did not take it.
            TaktlineError: the trigger is refused: the source has ended, or too many wait for their pictures.
        """
        with self._lock:
            if self._closed:
                raise TaktlineError("the camera takes no more triggers: its line is stopping")
            if len(self._waiting) + len(self._unanswered) >= _MOST:
                raise TaktlineError(f"{_MOST} triggers wait for their pictures; send them more slowly")
            trigger = Trigger(part, self._clock.wall_ns(), self._clock.monotonic_ns())
            if self._exclusive and self._waiting:
                self._unanswered.append((trigger, "the trigger came before the last one's picture"))
                return
            self._waiting.append(trigger)
            fire = self._fire
        if fire is None:
            return
        try:
            fire()
        except CameraError:
            raise
        except Exception as error:
            # The device may have been closed by now, and drivers raise what they like.
            raise CameraError(f"it took no trigger ({type(error).__name__}: {error})") from error

    def admit(self, reader: object) -> None:
        """Lets this reader arm the camera and take triggers, and no other."""
        with self._lock:
            self._reader, self._fire = reader, None

    def dismiss(self) -> None:
        """Lets no reader do so any more."""
        self.admit(None)

    def arm(self, reader: object, fire: Callable[[], None]) -> None:
        """Sets what makes the camera take a picture; a reader that is not admitted sets nothing."""
        with self._lock:
            if reader is self._reader:
                self._fire = fire

    def match(self, reader: object, captured: int) -> Trigger | None:
        """Returns the oldest trigger that a picture taken at this time may belong to, for `answer` to close.

        It returns None where no trigger waits, and to a reader that is not admitted.
        """
        with self._lock:
            if reader is not self._reader or not self._waiting or self._waiting[0].asked > captured:
                return None
            trigger = self._waiting.popleft()
            self._matched.append(trigger)
            return trigger

    def answer(self, trigger: Trigger) -> None:
        """Closes a trigger whose picture has become a frame."""
        with self._lock:
            self._matched = [other for other in self._matched if other is not trigger]

    def waiting_s(self) -> float:
        """Returns how long the oldest trigger has waited, in seconds; 0 where none does."""
        with self._lock:
            return (self._clock.monotonic_ns() - self._waiting[0].asked) / 1e9 if self._waiting else 0.0

    def unanswered(self) -> list[tuple[Trigger, str]]:
        """Takes out those that will get no picture, with the reason, in the order in which they were asked."""
        with self._lock:
            unanswered, self._unanswered = self._unanswered, []
        return sorted(unanswered, key=lambda item: item[0].asked)

    def give_up(self, why: str) -> None:
        """Leaves every trigger that has no frame yet unanswered."""
        with self._lock:
            self._unanswered += [(trigger, why) for trigger in (*self._matched, *self._waiting)]
            self._matched.clear()
            self._waiting.clear()

    def close(self, why: str) -> None:
        """Accepts no more triggers, and gives up those that wait."""
        with self._lock:
            self._closed = True
        self.give_up(why)
