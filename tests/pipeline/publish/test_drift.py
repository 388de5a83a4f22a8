"""The drift watch in a real line over real sockets: what moved, by how much, since when, and when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.image import Image, multiply, read_image
from pipeline.client.events import EventSubscriber
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.flow.frame import Frame
from pipeline.journal.events import EventReader
from pipeline.line.build import build_line
from pipeline.line.line import Line
from pipeline.publish.troubles import line_troubles
from pipeline.sources.source import Source
from tests.pipeline.line.test_line import config
from tests.pipeline.parts import until

DARK = (0.8, 0.8, 0.8)


class Hand(Source):
    """A camera whose pictures the test gives, one after the other, each once the last one is answered."""

    def __init__(self, camera: str) -> None:
        super().__init__(camera)
        self.given: list[Image] = []
        self._more = threading.Condition()

    def give(self, images: list[Image]) -> None:
        with self._more:
            self.given += images
            self._more.notify()

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        while not stop.is_set():
            with self._more:
                if not self.given:
                    self._more.wait(0.05)
                    continue
                image = self.given.pop(0)
            yield self._frame(*self._now(), image=image)
            # The watch looks at a part at a time on two busy cores, and this test counts them.
            time.sleep(0.004)


def good_parts(drawn: Path, count: int) -> list[Image]:
    paths = sorted((drawn / "train" / "good").iterdir())
    images = [cv2.resize(read_image(path), (320, 320), interpolation=cv2.INTER_AREA) for path in paths]
    return [np.asarray(images[index % len(images)], np.uint8) for index in range(count)]


def moved(line: Line) -> dict[str, dict[str, Any]]:
    drift = line.status()["drift"]
    return {one["quantity"]: one for camera in drift["cameras"].values() for one in camera["moved"]}


def looked_at(line: Line, camera: str = "top") -> int:
    return int(line.status()["drift"]["cameras"].get(camera, {"looked_at": 0})["looked_at"])


def settings(bundle: Path, endpoint: str, tmp_path: Path) -> Any:
    sections: dict[str, dict[str, object]] = {
        "publish": {"verdicts": endpoint},
        "drift": {"parts_per_false_alarm": 1000},
        "journal": {"path": str(tmp_path / "line.journal")},
    }
    return config(bundle, "folder:unused", endpoint, **sections)


@pytest.mark.usefixtures("no_thread_left")
def test_it_tells_what_moved_and_when_it_is_over(bundle_path: Path, drawn: Path, endpoint: str, tmp_path: Path) -> None:
    good = good_parts(drawn, 60)
    source = Hand("top")
    with (
        build_line(settings(bundle_path, endpoint, tmp_path), sources=[source]) as line,
        EventSubscriber(endpoint) as events,
        VerdictSubscriber(endpoint) as verdicts,
    ):
        line.start()
        time.sleep(0.3)
        source.give(good)
        until(lambda: looked_at(line) >= 40)
        assert moved(line) == {}
        assert line_troubles(line.status()) == []
        source.give([multiply(image, DARK) for image in good])
        until(lambda: "brightness" in moved(line))
        event = events.receive(10)
        while event.quantity != "brightness":
            event = events.receive(10)
        until(lambda: not source.given)
        time.sleep(0.5)
        found = moved(line)["brightness"]
        assert found["words"] == "darker by 20 %"
        assert (event.kind, event.camera, event.line) == ("moved", "top", "line")
        assert event.amount == pytest.approx(-20, abs=2)
        # It began with the first dark part, or within the block of parts that are looked at together.
        assert 55 <= event.since_sequence <= 66
        assert event.since_sequence < event.sequence <= event.since_sequence + 45
        assert any("top: darker by 20 % since frame" in sentence and "adapt" in sentence
                   for sentence in line_troubles(line.status()))  # fmt: skip
        exposed = line.metrics.expose("")[0].decode()
        assert 'taktline_drift_moved{camera="top",quantity="brightness"} 1.0' in exposed
        assert 'taktline_drift_moved{camera="top",quantity="red"} 0.0' in exposed
        # No verdict was lost or changed on its way, and none of the subscribers to verdicts got an event.
        assert [verdicts.receive(10)[0].sequence for _ in range(120)] == list(range(120))
        source.give(good_parts(drawn, 120))
        until(lambda: "brightness" not in moved(line))
        kinds = [(event.kind, event.quantity)]
        while kinds[-1] != ("returned", "brightness"):
            event = events.receive(10)
            kinds.append((event.kind, event.quantity))
        assert line.status()["ready"]
    with EventReader(tmp_path / "line.journal") as reader:
        kept = [(one.kind, one.quantity) for one in reversed(reader.newest()) if one.quantity == "brightness"]
    assert kept[0] == ("moved", "brightness")
    assert kept[-1] == ("returned", "brightness")
