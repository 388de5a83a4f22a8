"""A line in a process that has no memory left for a while: all that its limit allows is eaten up.

Arguments: a bundle, the name of an engine and the path of the journal. It prints, as JSON, what was answered before,
meanwhile and after, and what the line said of itself.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import numpy.typing as npt
import psutil

from pipeline.config.line_file import check_config
from pipeline.flow.frame import Frame
from pipeline.line.build import build_line
from pipeline.sources.source import Source

BUNDLE, ENGINE, JOURNAL = sys.argv[1:]
FRAMES, _PERIOD_S = 60, 0.05
_BLOCK_BYTES, _LEFT_BYTES = 64 << 10, 512 << 10


def encode(side: int) -> bytes:
    picture: npt.NDArray[np.uint8] = np.full((side, side, 3), 90, np.uint8)
    return cv2.imencode(".png", picture)[1].tobytes()


def wait_for(condition: Callable[[], object]) -> None:
    """Waits until a condition holds, up to a minute."""
    until = time.monotonic() + 60
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)


class Hog:
    """Takes all memory that this process may still have but half a megabyte, and gives it back."""

    def __init__(self) -> None:
        self._blocks: list[bytearray] = []
        self._limits = resource.getrlimit(resource.RLIMIT_AS)

    def eat(self) -> None:
        most = psutil.Process().memory_info().vms + (8 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, self._limits[1]))
        try:
            while True:
                self._blocks.append(bytearray(_BLOCK_BYTES))
        except MemoryError:
            del self._blocks[-_LEFT_BYTES // _BLOCK_BYTES :]

    def give_back(self) -> None:
        resource.setrlimit(resource.RLIMIT_AS, self._limits)
        self._blocks.clear()


class Camera(Source):
    """Gives frames before, while and after there is no memory.

    While there is none, every other picture takes 75 MB to decode. The rest are small: the engine is what needs memory.
    """

    def __init__(self) -> None:
        super().__init__("top")
        self.said: list[str] = []
        self._large, self._usual, self._small = encode(5000), encode(1000), encode(64)

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        hog = Hog()
        for part in ("before", "starved", "after"):
            if part == "starved":
                hog.eat()
            for number in range(FRAMES):
                if stop.wait(_PERIOD_S):
                    return
                if part == "after" and number == FRAMES // 2:
                    # An engine that failed has to be opened again, which takes its time.
                    wait_for(lambda: line.status()["ready"])
                picture = self._usual
                if part == "starved":
                    picture = self._small if number % 2 else self._large
                yield self._frame(time.time_ns(), time.monotonic_ns(), encoded=picture, part=part)
            # Nothing is left in the line that would hand its memory over to the next frame.
            wait_for(lambda: len(answers) == self._sequence)
            if part == "starved":
                self.said += line.status()["why_not"]
                hog.give_back()


camera = Camera()
values = {
    # No takt: what memory does is tested here, on machines of any speed.
    "line": {},
    "model": {"bundle": BUNDLE, "engine": ENGINE, "precision": "f32", "max_batch": 2},
    "camera": [{"name": "top", "source": "folder:.", "follow": True, "on_overload": "block"}],
    "publish": {"verdicts": "tcp://127.0.0.1:*"},
    "journal": {"path": JOURNAL, "keep_images": "all"},
}
answers: list[tuple[str | None, int, str]] = []
with build_line(check_config(values, "starved"), sources=[camera], watched=True) as line:
    line.start()
    for decided in line.decided():
        verdict = decided.verdict
        answers.append((verdict.part, verdict.sequence, verdict.reason or "inspected"))
    ready = line.status()["ready"]
print(json.dumps({"answers": answers, "said": camera.said, "ready": ready, "hung": line.hung}))
