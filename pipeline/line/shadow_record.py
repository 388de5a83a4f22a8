"""What a shadow run found: every part that both bundles judged, and pictures of those on which they differ."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any

_MOST_PICTURES, _MOST_PICTURE_BYTES = 200, 16 << 20
_PAGE_BYTES = 256 << 10


@dataclass(frozen=True)
class ShadowPart:
    """A part that both judged.

    Attributes:
        camera: see `Verdict.camera`.
        sequence: see `Verdict.sequence`.
        scores: what the running bundle gave it and what the candidate gave it, each in its own sigma.
        ng: whether each rejects it.
        picture: a small picture of it, JPEG; only where they differ, and while there is room.
        overlay: the same with the heatmap of the one that rejects it.
    """

    camera: str
    sequence: int
    scores: tuple[float, float]
    ng: tuple[bool, bool]
    picture: bytes | None = None
    overlay: bytes | None = None


class ShadowRecord:
    """Collects parts, within 16 MiB; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parts: list[ShadowPart] = []
        self._pictures = self._bytes = self._differing = 0
        self._ng = [0, 0]

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def has_room(self) -> bool:
        """Whether another part may have pictures."""
        return self._pictures < _MOST_PICTURES and self._bytes < _MOST_PICTURE_BYTES

    def add(self, part: ShadowPart) -> None:
        """Adds a part."""
        with self._lock:
            self._parts.append(part)
            self._differing += part.ng[0] != part.ng[1]
            self._ng = [count + ng for count, ng in zip(self._ng, part.ng, strict=True)]
            if part.picture is not None and part.overlay is not None:
                self._pictures += 1
                self._bytes += len(part.picture) + len(part.overlay)

    def counts(self) -> dict[str, Any]:
        """Returns how many parts were judged, how many each rejects, and on how many they differ."""
        with self._lock:
            ng = {"old": self._ng[0], "new": self._ng[1]}
            return {"judged": len(self._parts), "ng": ng, "differing": self._differing}

    def page(self, start: int) -> tuple[list[dict[str, Any]], int | None]:
        """Returns parts as plain values, from some place on, as many as fit into a message; and the next place."""
        with self._lock:
            parts = self._parts[start:]
        found: list[dict[str, Any]] = []
        size = 0
        for part in parts:
            if size > _PAGE_BYTES:
                return found, start + len(found)
            found.append(asdict(part))
            size += 100 + len(part.picture or b"") + len(part.overlay or b"")
        return found, None
