"""What the dashboard remembers of a camera: its last 500 parts, and of the newest their heatmaps and pictures."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from pipeline.protocol.verdict import Heatmap, Outcome, Region, Verdict

REMEMBERED = 500
# A fast line would show a bad part for a blink.
_HOLD_NG_S = 2.0
_EXACT = "f32"
# A slow browser asks for a picture seconds after it was told of it; each is about 25 KiB.
_HEATMAPS, _PICTURES = 32, 32
_RATE_NS, _RATE_PARTS = 10_000_000_000, 200

Key = tuple[str, int]
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class SeenPart:
    """A verdict, reduced to what the live page shows."""

    epoch: str
    sequence: int
    outcome: Outcome
    reason: str | None
    score: float | None
    threshold: float
    latency_ms: float
    captured_at: int
    part: str | None
    regions: tuple[Region, ...]
    precision: str

    @classmethod
    def of(cls, verdict: Verdict) -> SeenPart:
        """Reduces a verdict."""
        return cls(
            verdict.epoch, verdict.sequence, verdict.verdict, verdict.reason, verdict.score, verdict.threshold,
            verdict.latency.total / 1e6, verdict.captured_at, verdict.part, verdict.regions,
            verdict.precision,
        )  # fmt: skip

    @property
    def key(self) -> Key:
        """Epoch and sequence, which identify it."""
        return self.epoch, self.sequence


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """A preview of a frame.

    Attributes:
        key: epoch and sequence of the frame.
        jpeg: the picture's bytes.
        width: of the whole frame, in pixels; regions are in these.
        height: likewise.
    """

    key: Key
    jpeg: bytes
    width: int
    height: int


class CameraModel:
    """A camera's recent past, of bounded size. Not locked: `LineModel` does that.

    Attributes:
        name: the camera's name.
        parts: the newest last.
        counts: verdicts and reasons since the dashboard began.
        version: grows whenever something changes.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.parts: deque[SeenPart] = deque(maxlen=REMEMBERED)
        self.counts: Counter[str] = Counter()
        self.version = 0
        self.heard: float | None = None
        self._bad: tuple[SeenPart, float] | None = None
        self._heatmaps: dict[Key, Heatmap] = {}
        self._pictures: dict[Key, SeenPicture] = {}

    def add(self, verdict: Verdict, heatmap: Heatmap | None, *, live: bool = True) -> None:
        """Takes a verdict; `live` is false for those of the past."""
        seen = SeenPart.of(verdict)
        self.parts.append(seen)
        self.version += 1
        if heatmap is not None:
            _keep(self._heatmaps, seen.key, heatmap, _HEATMAPS)
        if live:
            self.heard = time.monotonic()
            self.counts[seen.reason or seen.outcome] += 1
            if seen.outcome == "ng":
                self._bad = seen, self.heard

    def show(self, picture: SeenPicture) -> None:
        """Takes a preview."""
        _keep(self._pictures, picture.key, picture, _PICTURES)
        self.version += 1

    @property
    def shown(self) -> SeenPart | None:
        """The part on the lamp: a bad one for two seconds, otherwise the newest."""
        if self.is_holding:
            assert self._bad is not None
            return self._bad[0]
        return self.parts[-1] if self.parts else None

    @property
    def is_holding(self) -> bool:
        """Whether the lamp still shows a bad part, though others may have come since."""
        return self._bad is not None and time.monotonic() - self._bad[1] < _HOLD_NG_S

    @property
    def picture(self) -> SeenPicture | None:
        """The picture of the part that is shown, or the newest there is."""
        shown = self.shown
        found = None if shown is None else self._pictures.get(shown.key)
        return found or next(reversed(self._pictures.values()), None)

    def picture_of(self, key: Key) -> SeenPicture | None:
        """The picture of a part, if it is still there."""
        return self._pictures.get(key)

    def heatmap_of(self, key: Key) -> Heatmap | None:
        """The heatmap of a part, if it has one that is still there."""
        return self._heatmaps.get(key)

    def part_of(self, key: Key) -> SeenPart | None:
        """One of the last parts."""
        return next((part for part in reversed(self.parts) if part.key == key), None)

    @property
    def rate(self) -> float:
        """Parts a second, over the last ten seconds that saw any."""
        newest = list(islice(reversed(self.parts), _RATE_PARTS))
        if self.heard is None or time.monotonic() - self.heard > _RATE_NS / 1e9:
            return 0.0
        times = [part.captured_at for part in newest if newest[0].captured_at - part.captured_at < _RATE_NS]
        span = max(times) - min(times)
        return (len(times) - 1) / span * 1e9 if span > 0 else 0.0

    @property
    def latency_ms(self) -> tuple[float, float] | None:
        """p50 and p99 of the latency of the last parts that were inspected; None before the first."""
        found = [part.latency_ms for part in self.parts if part.score is not None]
        if not found:
            return None
        p50, p99 = np.quantile(np.array(found), (0.5, 0.99))
        return float(p50), float(p99)

    @property
    def second_looks(self) -> float | None:
        """Share of the last parts that were scored again; None if all were scored in one precision."""
        found = [part.precision for part in self.parts if part.score is not None]
        return found.count(_EXACT) / len(found) if len(set(found)) > 1 else None


def _keep(kept: dict[Key, Kept], key: Key, value: Kept, most: int) -> None:
    kept[key] = value
    while len(kept) > most:
        del kept[next(iter(kept))]
