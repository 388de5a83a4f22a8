"""A folder of pictures, and new ones as another program writes them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from calibration.dataset import list_images
from engines.errors import DataError
from engines.image import is_cut_short
from pipeline.flow.frame import Frame
from pipeline.sources.source import Pacer, Source

_POLL_S = 0.1
_SETTLED_S = 0.5
_GIVE_UP_S = 10.0


class FolderSource(Source):
    """Yields every picture of a folder by name and, when it follows, new ones once they are completely written.

    A file is complete when its size and time have stood still for half a second and its end is there. One that
    stays cut short for 10 seconds is handed on all the same, and answered as corrupt: it is a part that passed.
    A file written anew under a known name is a new picture.

    Raises:
        DataError: the folder cannot be read, or is empty and not followed.
        ConfigError: the rate is 0 or less.
    """

    def __init__(self, camera: str, root: Path, fps: float | None = None, follow: bool = False) -> None:
        super().__init__(camera)
        self._root, self._follow, self._pacer = root, follow, Pacer(fps)
        if not list_images(root) and not follow:
            raise DataError(f"the folder {root} holds no pictures; give another one, or wait for them with --follow")

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields the pictures."""
        seen: dict[Path, tuple[int, int]] = {}
        growing: dict[Path, tuple[tuple[int, int], float]] = {}
        while not stop.is_set():
            waiting = False
            for path in list_images(self._root):
                state = _state(path)
                if state is None or seen.get(path) == state:
                    continue
                if self._follow and not _settled(path, state, growing):
                    waiting = True
                    continue
                growing.pop(path, None)
                seen[path] = state
                if not self._pacer.wait(stop):
                    return
                yield self._frame_from_file(path, path.name)
            if not self._follow and not waiting:
                return
            stop.wait(_POLL_S)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _settled(path: Path, state: tuple[int, int], growing: dict[Path, tuple[tuple[int, int], float]]) -> bool:
    now = time.monotonic()
    before = growing.get(path)
    if before is None or before[0] != state:
        growing[path] = (state, now)
        return False
    quiet = now - before[1]
    if quiet < _SETTLED_S:
        return False
    try:
        complete = state[0] > 0 and not is_cut_short(path.read_bytes())
    except OSError:
        return False
    return complete or quiet >= _GIVE_UP_S
