"""Triggers by message: each requests one picture of one part from a camera."""

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
    """A request for a picture.

    Attributes:
        part: id of the part, if the sender knows it.
        asked_at: wall clock, nanoseconds since 1970 (UTC).
        asked: monotonic clock, nanoseconds.
    """

    part: str | None
    asked_at: int
    asked: int


class Triggers:
    """The triggers of one camera, from their acceptance until they have a picture or will get none.

    The senders of triggers, the thread that reads the camera, and the source share this object. If a camera hangs, a
    new thread reads it while the old one may still wake up: only the admitted reader can arm the camera or take
    triggers.

    Args:
        exclusive: whether to refuse a trigger that comes before the picture of the last one. A camera may ignore such a
            trigger, and each later picture would be assigned to the wrong part.
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
        """Requests a picture.

        Raises:
            CameraError: the trigger is accepted, but the camera did not take it.
            TaktlineError: the trigger is refused, because the source has ended or too many triggers wait.
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
            # The device may have been closed by now, and drivers may raise anything.
            raise CameraError(f"it took no trigger ({type(error).__name__}: {error})") from error

    def admit(self, reader: object) -> None:
        """Lets only this reader arm the camera and take triggers."""
        with self._lock:
            self._reader, self._fire = reader, None

    def dismiss(self) -> None:
        """Lets no reader do so from now on."""
        self.admit(None)

    def arm(self, reader: object, fire: Callable[[], None]) -> None:
        """Sets the function that makes the camera take a picture, if the reader is admitted.

        A trigger that came before and could not be passed on to a camera that waits for it gets no picture: taken now,
        it would show the next part.
        """
        with self._lock:
            if reader is not self._reader:
                return
            self._fire = fire
            if self._exclusive:
                why = "the trigger came before the camera was open"
                self._unanswered += [(trigger, why) for trigger in self._waiting]
                self._waiting.clear()

    def match(self, reader: object, captured: int) -> Trigger | None:
        """Returns the oldest trigger that a picture taken at this time may belong to, for `answer` to close.

        It returns None if no trigger waits or the reader is not admitted.
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
        """Returns how long the oldest trigger has waited, in seconds; 0 if none does."""
        with self._lock:
            return (self._clock.monotonic_ns() - self._waiting[0].asked) / 1e9 if self._waiting else 0.0

    def unanswered(self) -> list[tuple[Trigger, str]]:
        """Takes out the triggers that will get no picture, with the reasons, in the order they came."""
        with self._lock:
            unanswered, self._unanswered = self._unanswered, []
        return sorted(unanswered, key=lambda item: item[0].asked)

    def give_up(self, why: str) -> None:
        """Marks every trigger that has no frame yet as unanswered."""
        with self._lock:
            self._unanswered += [(trigger, why) for trigger in (*self._matched, *self._waiting)]
            self._matched.clear()
            self._waiting.clear()

    def close(self, why: str) -> None:
        """Accepts no more triggers, and gives up the waiting ones."""
        with self._lock:
            self._closed = True
        self.give_up(why)
