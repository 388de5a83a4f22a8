"""A verdict as it was published: what the journal keeps and the replay sends again."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.protocol.topics import TOPIC


@dataclass(frozen=True, slots=True)
class Entry:
    """One verdict as the journal holds it.

    Attributes:
        epoch: see `Verdict.epoch`.
        camera: see `Verdict.camera`.
        sequence: see `Verdict.sequence`.
        captured_at: see `Verdict.captured_at`.
        verdict: `ok`, `ng` or `uninspected`.
        body: the message's body as it was published.
        heatmap: the message's third part; None where it has none.
    """

    epoch: str
    camera: str
    sequence: int
    captured_at: int
    verdict: str
    body: bytes
    heatmap: bytes | None

    @property
    def parts(self) -> list[bytes]:
        """The message as it was published."""
        parts = [f"{TOPIC}{self.camera}".encode(), self.body]
        return parts if self.heatmap is None else [*parts, self.heatmap]

    @property
    def size(self) -> int:
        """Length of body and heatmap in bytes."""
        return len(self.body) + len(self.heatmap or b"")
