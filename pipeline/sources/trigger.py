"""Triggers that come as messages: each asks a camera for one picture, of one part."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from engines.errors import TaktlineError

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
    """The pictures that were asked for and have not come. Whoever asks and whoever reads the camera share it.

    Args:
        exclusive: whether a trigger that comes before the picture of the one before is refused. A camera may pass such
            a one over, and each later picture would go by the name of another part.
    """

    def __init__(self, exclusive: bool) -> None:
        self._exclusive = exclusive
        self._waiting: deque[Trigger] = deque()
        self._refused: deque[Trigger] = deque()
        self._lock = threading.Lock()
        self.fire: Callable[[], None] | None = None

    def ask(self, part: str | None) -> None:
        """Asks for a picture.

        Raises:
            TaktlineError: too many have been asked for and not come.
        """
        with self._lock:
            if len(self._waiting) + len(self._refused) >= _MOST:
                raise TaktlineError(f"{_MOST} triggers wait for their pictures; send them more slowly")
            trigger = Trigger(part, time.time_ns(), time.monotonic_ns())
            if self._exclusive and self._waiting:
                self._refused.append(trigger)
                return
            self._waiting.append(trigger)
            fire = self.fire
        if fire is not None:
            fire()

    def match(self, captured: int) -> Trigger | None:
        """Returns the oldest trigger that a picture taken at this time may belong to, and takes it out."""
        with self._lock:
            return self._waiting.popleft() if self._waiting and self._waiting[0].asked <= captured else None

    def waiting_s(self) -> float:
        """Returns how long the oldest trigger has waited, in seconds; 0 where none does."""
        with self._lock:
            return (time.monotonic_ns() - self._waiting[0].asked) / 1e9 if self._waiting else 0.0

    def refused(self) -> list[Trigger]:
        """Takes those out that came too early."""
        with self._lock:
            refused = list(self._refused)
            self._refused.clear()
        return refused

    def give_up(self) -> list[Trigger]:
        """Takes all out."""
        with self._lock:
            given_up = sorted([*self._waiting, *self._refused], key=lambda trigger: trigger.asked)
            self._waiting.clear()
            self._refused.clear()
        return given_up
