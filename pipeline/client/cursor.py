"""How far a subscriber has got with one camera."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pipeline.protocol.replay import Received

MOST_EARLIER = 8


@dataclass
class Range:
    """Sequences to ask for."""

    epoch: str
    first: int
    last: int


@dataclass
class Cursor:
    """How far a subscriber has got with one camera.

    Attributes:
        epoch: the current epoch; None if only a sequence of the newest epoch is known.
        next: the sequence that is due.
        heard: when the camera's last verdict arrived.
        earlier: the sequence that would be due in each earlier epoch.
        plan: what to ask for, in this order, before anything else is handed over.
        held: verdicts that arrived too early, each with the number of the latest survey at that time.
        unclear: whether a survey must tell what comes next.
        settled: the number of the last survey that was used.
    """

    epoch: str | None
    next: int
    heard: float
    earlier: dict[str, int] = field(default_factory=dict)
    plan: deque[Range] = field(default_factory=deque)
    held: deque[tuple[Received, int]] = field(default_factory=deque)
    unclear: bool = False
    settled: int = 0

    @property
    def behind(self) -> bool:
        """Whether verdicts must wait for earlier ones."""
        return bool(self.plan or self.held or self.unclear)

    def due(self, epoch: str) -> int | None:
        """Returns the sequence that is due in an epoch; None if nothing of it was seen."""
        return self.next if epoch == self.epoch else self.earlier.get(epoch)

    def move(self, epoch: str, due: int) -> None:
        """Moves to a sequence of the same or another epoch."""
        if self.epoch not in (None, "", epoch):
            assert self.epoch is not None
            self.earlier[self.epoch] = self.next
            while len(self.earlier) > MOST_EARLIER:
                del self.earlier[next(iter(self.earlier))]
        self.earlier.pop(epoch, None)
        self.epoch, self.next = epoch, due
