"""A published verdict, as the journal stores it and the replay resends it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.protocol.topics import TOPIC


class Facts(NamedTuple):
    """What a verdict can be searched for, besides its camera, time and outcome.

    Attributes:
        reason: see `Verdict.reason`.
        score: see `Verdict.score`.
        part: see `Verdict.part`.
        latency: from capture to the journal, in nanoseconds.
    """

    reason: str | None
    score: float | None
    part: str | None
    latency: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One verdict as the journal stores it.

    Attributes:
        epoch: see `Verdict.epoch`.
        camera: see `Verdict.camera`.
        sequence: see `Verdict.sequence`.
        captured_at: see `Verdict.captured_at`.
        verdict: `ok`, `ng` or `uninspected`.
        body: the published message's body.
        heatmap: the message's third part; None if it has none.
        facts: what it can be searched for; None if it was read from a journal.
    """

    epoch: str
    camera: str
    sequence: int
    captured_at: int
    verdict: str
    body: bytes
    heatmap: bytes | None
    facts: Facts | None = None

    @property
    def parts(self) -> list[bytes]:
        """The published message."""
        parts = [f"{TOPIC}{self.camera}".encode(), self.body]
        return parts if self.heatmap is None else [*parts, self.heatmap]

    @property
    def size(self) -> int:
        """Total length of body and heatmap in bytes."""
        return len(self.body) + len(self.heatmap or b"")
