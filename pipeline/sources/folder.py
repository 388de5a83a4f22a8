"""Pictures in a folder, including new ones as another program writes them."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from pathlib import Path

from calibration.dataset import list_images
from engines.errors import DataError
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.frame import Frame
from pipeline.protocol.topics import safe_text
from pipeline.sources.arrivals import Arrivals
from pipeline.sources.folder_scan import FolderScan
from pipeline.sources.source import Backoff, Pacer, Source

log = logging.getLogger(__name__)

_POLL_S = 0.1


class FolderSource(Source):
    """Yields every picture in a folder by name and, with `follow`, new ones once they are completely written.

    A file rewritten under a known name is a new picture. If a followed folder cannot be read, such as a network share
    that is gone, that is reported and tried again endlessly; pictures that were there before are not yielded twice.

    Raises:
        DataError: the folder cannot be read, or is empty and not followed.
        ConfigError: the rate is 0 or less.
    """

    def __init__(
        self, camera: str, root: Path, fps: float | None = None, follow: bool = False, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(camera, clock)
        self._root, self._follows, self._pacer = root, follow, Pacer(fps)
        paths = list_images(root)
        if not paths and not follow:
            raise DataError(f"the folder {root} holds no pictures; give another, or wait for some with follow = true")
        self._paths = [] if follow else paths

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        """Yields the pictures."""
        return self._follow(stop) if self._follows else self._read(stop)

    def _read(self, stop: threading.Event) -> Iterator[Frame]:
        for path in self._paths:
            if not self._pacer.wait(stop):
                return
            yield self._frame_from_file(path, path.name)

    def _follow(self, stop: threading.Event) -> Iterator[Frame]:
        scan, arrivals, backoff = FolderScan(self._root), Arrivals(self._root), Backoff()
        while not stop.is_set():
            try:
                arrivals.add(scan.look())
            except OSError as error:
                arrivals.clear()
                self._report(error, backoff.pause_s)
                # Lines that lost the same share should not all come back at the same moment.
                stop.wait(backoff.pause_s * random.uniform(0.8, 1.2))
                backoff.failed()
                continue
            if self._trouble is not None:
                log.warning("camera %s: the folder %s can be read again", self.camera, safe_text(str(self._root)))
                self._trouble = None
                backoff.recovered()
            for arrival in arrivals.whole():
                if not self._pacer.wait(stop):
                    return
                scan.remember(arrival.name, arrival.state)
                yield self._frame(*self._now(), encoded=arrival.data, part=arrival.name, fault=arrival.fault)
            stop.wait(_POLL_S)

    def _report(self, error: OSError, pause_s: float) -> None:
        self._trouble = safe_text(f"the folder {self._root} cannot be read ({error.strerror or error})")
        log.warning("camera %s: %s; trying again in %.1f s", self.camera, self._trouble, pause_s)
