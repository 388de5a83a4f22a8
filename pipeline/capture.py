"""The first stage: one thread a source."""

from __future__ import annotations

import threading

from pipeline.channel import Channel
from pipeline.frames import Frame
from pipeline.sources.source import Source
from pipeline.stage import Stage


class Capture(Stage):
    """Feeds one source's frames to the batcher; waits where the line is full, so that no file is lost."""

    def __init__(self, source: Source, outbox: Channel[Frame], stop: threading.Event) -> None:
        super().__init__(f"capture {source.camera}")
        self._source, self._outbox, self._stop = source, outbox, stop

    def work(self) -> None:
        """Takes frames until the source has no more, or is to stop."""
        for frame in self._source.frames(self._stop):
            self._outbox.put(frame)

    def finish(self) -> None:
        """Says that this source is done."""
        self._outbox.close()
