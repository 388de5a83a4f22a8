"""What the dashboard knows of a line: its cameras, its status, and in words what is wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pipeline.dashboard.camera_model import CameraModel, Key, SeenPicture
from pipeline.protocol.preview import Preview
from pipeline.protocol.verdict import Heatmap, Verdict
from pipeline.publish.troubles import journal_troubles, line_troubles, unjournaled

_SILENT_S, _DEAF_S = 10.0, 5.0
_DEAF = "check their address, and the keys if the line uses CURVE"


@dataclass
class _State:
    status: dict[str, Any] | None = None
    why: str | None = "the dashboard has not reached the line yet"
    wire: str | None = None
    lost: int = 0
    published: int = -1
    received: int = 0
    received_before: int = 0
    deaf_since: float | None = None
    cameras: dict[str, CameraModel] = field(default_factory=dict)


class LineModel:
    """A line as the dashboard sees it. Threads write to it, pages read it; every access takes its lock.

    Args:
        name: the line's name.
        asks: whether the line can be asked for its status.
    """

    def __init__(self, name: str, asks: bool) -> None:
        self.name, self._asks = name, asks
        self._lock = threading.Lock()
        self._state = _State()

    def received(self, verdict: Verdict, heatmap: Heatmap | None, *, live: bool = True) -> None:
        """Takes a verdict."""
        with self._lock:
            self._state.wire = self._state.deaf_since = None
            self._state.received += 1
            self._camera(verdict.camera).add(verdict, heatmap, live=live)

    def saw(self, preview: Preview) -> None:
        """Takes a preview."""
        picture = SeenPicture((preview.epoch, preview.sequence), preview.jpeg, preview.frame_w, preview.frame_h)
        with self._lock:
            self._camera(preview.camera).show(picture)

    @contextmanager
    def camera(self, name: str) -> Iterator[CameraModel]:
        """Lends a camera; it appears if it is new."""
        with self._lock:
            yield self._camera(name)

    @contextmanager
    def cameras(self) -> Iterator[list[CameraModel]]:
        """Lends all cameras, in the order of the line."""
        with self._lock:
            yield list(self._state.cameras.values())

    def picture(self, camera: str, key: Key) -> SeenPicture | None:
        """Returns a preview that is still remembered; a camera that nobody knows has none."""
        with self._lock:
            found = self._state.cameras.get(camera)
            return None if found is None else found.picture_of(key)

    @property
    def names(self) -> list[str]:
        """The names of all cameras, in the order of the line."""
        with self._lock:
            return list(self._state.cameras)

    def lost(self, count: int) -> None:
        """Notes verdicts that nobody can have again."""
        with self._lock:
            self._state.lost += count

    def told(self, status: dict[str, Any]) -> None:
        """Takes the line's status."""
        with self._lock:
            state = self._state
            state.status, state.why = status, None
            self._listen(sum(sum(camera["verdicts"].values()) for camera in status["cameras"].values()))
            for name in status["cameras"]:
                self._camera(name)

    def unreachable(self, why: str) -> None:
        """Notes that the line does not answer."""
        with self._lock:
            self._state.why = why

    def unreadable(self, why: str) -> None:
        """Notes that the line publishes what cannot be read."""
        with self._lock:
            self._state.wire = why

    @property
    def status(self) -> dict[str, Any] | None:
        """The line's last status; None if it was never reached."""
        return self._state.status

    @property
    def is_reached(self) -> bool:
        """Whether the line answered the last time that it was asked."""
        return self._state.why is None

    @property
    def takt_ms(self) -> float | None:
        """The line's takt, if it has one and has told it."""
        status = self._state.status
        return None if status is None else status.get("takt_ms")

    def counts(self, camera: str) -> dict[str, int]:
        """Verdicts and reasons since the line began; since the dashboard began if the line cannot be asked."""
        with self._lock:
            status = self._state.status
            if status is None or camera not in status["cameras"]:
                return dict(self._camera(camera).counts)
            return dict(status["cameras"][camera]["verdicts"])

    def troubles(self) -> list[tuple[bool, str]]:
        """Returns what is wrong, worst first: whether the line cannot be seen or keeps nothing, and a sentence."""
        with self._lock:
            state = self._state
            found: list[tuple[bool, str]] = [(True, state.wire)] if state.wire else []
            if not self._asks:
                heard = [camera.heard for camera in state.cameras.values() if camera.heard is not None]
                silent = not heard or time.monotonic() - max(heard) > _SILENT_S
                return [*found, *([(True, f"no verdict has come for {_SILENT_S:.0f} seconds")] if silent else [])]
            if state.why is not None:
                found.append((True, state.why))
            elif state.status is not None:
                journal = state.status.get("journal")
                found += [(True, text) for text in journal_troubles(journal)]
                found += [(not state.status["live"], text) for text in line_troubles(state.status)]
                late = unjournaled(journal)
                # What was written since is of no interest to whoever looks now.
                if late and journal and (journal["waiting"] or journal["lost"]):
                    found.append((False, late))
                if state.deaf_since is not None and time.monotonic() - state.deaf_since > _DEAF_S:
                    found.append((True, f"its verdicts do not reach this dashboard; {_DEAF}"))
            if state.lost:
                found.append((False, f"{state.lost} verdicts are lost to this dashboard; the line no longer has them"))
            return found

    def _listen(self, published: int) -> None:
        """Notices a line that publishes while nothing arrives here, as without the right keys."""
        state = self._state
        if state.received != state.received_before:
            state.deaf_since = None
        elif published > state.published >= 0 and state.deaf_since is None:
            state.deaf_since = time.monotonic()
        state.published, state.received_before = published, state.received

    def _camera(self, name: str) -> CameraModel:
        found = self._state.cameras.get(name)
        if found is None:
            found = self._state.cameras[name] = CameraModel(name)
        return found
