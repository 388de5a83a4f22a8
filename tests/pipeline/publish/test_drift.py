"""The drift watch in a real line over real sockets: what moved, by how much, since when, and when it is over."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from calibration.looks import write_looks
from engines.bundle import Bundle, open_bundle, write_manifest
from engines.errors import ConfigError
from engines.image import Image, multiply, read_image, resize_frame
from pipeline.client.events import EventSubscriber
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.sections import DriftSection, JournalSection
from pipeline.flow.frame import Frame
from pipeline.journal.events import EventReader
from pipeline.journal.store import Journal
from pipeline.line.build import build_line
from pipeline.line.line import Line
from pipeline.protocol.event import Event
from pipeline.publish.drift_watch import DriftWatch
from pipeline.publish.troubles import line_troubles
from pipeline.sources.source import Source
from tests.conftest import RunTaktline
from tests.pipeline.line.test_line import config
from tests.pipeline.parts import decide, until, verify

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
            # The watch rests 19 times as long as it worked, and this test counts what it looked at.
            time.sleep(0.025)


def good_parts(drawn: Path, count: int) -> list[Image]:
    paths = sorted((drawn / "train" / "good").iterdir())
    images = [cv2.resize(read_image(path), (320, 320), interpolation=cv2.INTER_AREA) for path in paths]
    return [np.asarray(images[index % len(images)], np.uint8) for index in range(count)]


def moved(line: Line) -> dict[str, dict[str, Any]]:
    drift = line.status()["drift"]
    return {one["quantity"]: one for camera in drift["cameras"].values() for one in camera["moved"]}


def drift_troubles(line: Line) -> list[str]:
    """What the line says of it; on a busy machine it may complain of its engine as well."""
    return [sentence for sentence in line_troubles(line.status()) if "since frame" in sentence]


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
def test_it_tells_what_moved_and_when_it_is_over(
    bundle_path: Path, drawn: Path, endpoint: str, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
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
        until(lambda: looked_at(line) >= 30)
        assert moved(line) == {}
        assert drift_troubles(line) == []
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
        # It began with the first dark part, or within the block of parts that are looked at together.
        assert 55 <= event.since_sequence <= 66
        assert event.since_sequence < event.sequence <= event.since_sequence + 55
        # Of such a block, the parts before the sixtieth were not dark.
        lighter = 20 * max(0, 60 - event.since_sequence) / (event.sequence - event.since_sequence)
        assert -22 <= event.amount <= -18 + lighter
        assert any("top: darker by 20 % since frame" in sentence and "adapt" in sentence
                   for sentence in drift_troubles(line))  # fmt: skip
        exposed = line.metrics.expose("")[0].decode()
        assert 'taktline_drift_moved{camera="top",quantity="brightness"} 1.0' in exposed
        assert 'taktline_drift_moved{camera="top",quantity="red"} 0.0' in exposed
        # No verdict was lost or changed on its way, and none of the subscribers to verdicts got an event.
        assert [verdicts.receive(10)[0].sequence for _ in range(120)] == list(range(120))
        source.give(good_parts(drawn, 90))
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
    listed = taktline_in_process("journal", "events", tmp_path / "line.journal")
    assert listed.returncode == 0, listed.stderr
    assert "camera top: brightness is as at calibration again" in listed.stdout
    assert "darker by" in listed.stdout


@pytest.mark.usefixtures("no_thread_left")
def test_another_bundle_begins_anew(bundle_path: Path, drawn: Path, endpoint: str, tmp_path: Path) -> None:
    """Dark parts are told of; a bundle that is adapted to dark parts finds nothing in them."""
    good = good_parts(drawn, 60)
    dark = [multiply(image, DARK) for image in good]
    bundle = open_bundle(bundle_path)
    adapted = tmp_path / "adapted"
    shutil.copytree(bundle_path, adapted)
    looks = write_looks(adapted, [resize_frame(image, bundle.size) for image in dark[:30]], None)
    write_manifest(adapted, bundle.manifest.model_dump() | {"looks": looks.model_dump()})
    source = Hand("top")
    with (
        build_line(settings(bundle_path, endpoint, tmp_path), sources=[source]) as line,
        EventSubscriber(endpoint, ["top"]) as events,
    ):
        line.start()
        time.sleep(0.3)
        source.give(dark)
        until(lambda: "brightness" in moved(line))
        line.orders.deploy(adapted)
        source.give(dark)
        until(lambda: looked_at(line) >= 30 and not source.given)
        # Only what they should look like was adapted, so they are rejected as before.
        assert set(moved(line)) <= {"rejection"}
        told = [events.receive(10)]
        while (told[-1].kind, told[-1].quantity) != ("restarted", "brightness"):
            told.append(events.receive(10))
        assert told[-1].bundle == bundle.short_id


def feed_watch(watch: DriftWatch, images: list[Image], size: tuple[int, int]) -> None:
    for sequence, image in enumerate(images):
        frame = Frame("top", sequence, image, 1000 + sequence, sequence)
        watch.see([frame], resize_frame(image, size)[None])
        # Not faster than it looks at them.
        time.sleep(0.01)


def watch_of(bundle: Bundle, journal: Journal | None = None, **settings: Any) -> DriftWatch:
    section = DriftSection.model_validate({"parts_per_false_alarm": 1000} | settings)
    return DriftWatch(section, "line", ["top"], lambda: bundle, journal)


def test_a_bundle_that_does_not_know_good_parts_is_not_watched_and_says_why(
    bundle_path: Path, drawn: Path, endpoint: str, tmp_path: Path
) -> None:
    bundle = open_bundle(bundle_path)
    older = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"looks": None}))
    watch = watch_of(older)
    watch.start(lambda name, error: pytest.fail(f"{name}: {error}"))
    until(lambda: watch.status()["why_not"] is not None)
    feed_watch(watch, good_parts(drawn, 3), bundle.size)
    assert "adapt it to good parts of today" in watch.status()["why_not"]
    assert watch.status()["cameras"] == {}
    assert watch.status()["skipped"] == 3
    watch.drain()
    assert watch.join(5)
    sections: dict[str, dict[str, object]] = {"publish": {"verdicts": endpoint}, "drift": {"enabled": False}}
    with build_line(config(bundle_path, f"replay:{drawn}", endpoint, **sections)) as line:
        assert line.status()["drift"] is None
        assert "taktline_drift" not in line.metrics.expose("")[0].decode()


def test_a_thread_that_is_busy_delays_nothing(bundle_path: Path) -> None:
    """Nobody looks at what it is given, as if it hung: it takes a few frames, and drops the others at once."""
    bundle = open_bundle(bundle_path)
    watch = watch_of(bundle)
    images = np.zeros((4, *bundle.size, 3), np.uint8)
    frames = [Frame("top", number, None, 1, 1) for number in range(4)]
    longest = 0.0
    for _ in range(500):
        began = time.perf_counter()
        watch.see(frames, images)
        watch.judged(decide("top", 0).verdict)
        longest = max(longest, time.perf_counter() - began)
    assert watch.status()["skipped"] == 2000 - 8
    assert longest < 0.2
    assert watch.take() is None


def test_an_event_waits_for_the_disk_and_is_published_before(bundle_path: Path, drawn: Path, tmp_path: Path) -> None:
    bundle, path = open_bundle(bundle_path), tmp_path / "line.journal"
    journal = Journal(JournalSection(path=path))
    watch = watch_of(bundle, journal)
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    watch.start(lambda name, error: pytest.fail(f"{name}: {error}"))
    feed_watch(watch, [multiply(image, DARK) for image in good_parts(drawn, 120)], bundle.size)
    until(lambda: bool(watch.status()["cameras"]["top"]["moved"]))
    until(lambda: watch.take() is not None)
    with EventReader(path) as reader:
        assert reader.newest() == []
    lock.execute("ROLLBACK")
    lock.close()

    def brightness() -> list[Event]:
        with EventReader(path) as reader:
            return [event for event in reader.newest() if event.quantity == "brightness"]

    until(lambda: len(brightness()) == 1)
    assert brightness()[0].words.startswith("darker by")
    watch.drain()
    assert watch.join(10)
    journal.close()
    assert verify(path).good


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"parts_per_false_alarm": 10}, "parts_per_false_alarm"),
        ({"enabel": True}, "did you mean 'enabled'"),
        ({"enabled": "perhaps"}, "drift.enabled"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, object], why: str, bundle_path: Path) -> None:
    with pytest.raises(ConfigError, match=why):
        config(bundle_path, "folder:unused", "tcp://127.0.0.1:*", drift=values)
