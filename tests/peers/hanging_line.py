"""`taktline run` with a part that hangs in a foreign call, as a driver, a device or a dead disk does.

Arguments: which part hangs (`camera`, `engine`, `disk` or the engine of a `deploy`, or `nothing`), then those of
`taktline run`. It prints `hanging` once it does, or `running` where it waits for an order or for nothing.
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np

from engines.bundle import Bundle
from engines.engine import Engine, Frames, Scores
from pipeline.flow.frame import Frame
from pipeline.journal import file, store
from pipeline.line import build
from pipeline.sources.source import Source
from taktline.cli.app import main

PART = sys.argv.pop(1)
_AFTER = 5


def hang() -> None:
    """Never returns, and listens to nobody."""
    print("hanging", flush=True)
    while True:
        time.sleep(3600)


class Camera(Source):
    """Gives a frame every 20 ms; the one that hangs stops doing so, and does not look at `stop` any more."""

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        for number in range(1_000_000):
            if stop.wait(0.02):
                return
            if PART == "camera" and number == _AFTER:
                hang()
            if PART in {"deploy", "nothing"} and number == _AFTER:
                print("running", flush=True)
            yield Frame(self.camera, number, np.zeros((64, 64, 3), np.uint8), time.time_ns(), time.monotonic_ns())


class HangingEngine(Engine):
    """An engine whose library never returns from a batch, nor from being closed."""

    name = "hanging"
    _count = 0

    def _submit(self, frames: Frames, _until: int | None) -> Future[Scores]:
        self._count += 1
        if PART == "engine" and self._count == _AFTER:
            hang()
        future: Future[Scores] = Future()
        future.set_result(self._scores(np.zeros(len(frames), np.float32), np.zeros((len(frames), 8, 8), np.float32)))
        return future

    def _close(self) -> None:
        if PART == "engine":
            time.sleep(3600)


opened = itertools.count()


def open_hanging(bundle: Bundle) -> Engine:
    if next(opened) and PART == "deploy":
        hang()
    return HangingEngine(bundle.size, "f32", 2, "cpu")


if PART == "disk":
    written = iter(range(_AFTER))
    write = file.write_entries

    def write_entries(*arguments: object, **options: object) -> None:
        if next(written, None) is None:
            hang()
        write(*arguments, **options)  # type: ignore[arg-type]

    vars(store)["write_entries"] = write_entries
vars(build)["build_line"] = functools.partial(build.build_line, sources=[Camera("top")], opener=open_hanging)
sys.exit(main())
