"""Sources yield every picture once, whole or not, in order."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path

import pytest

from engines.errors import ConfigError, DataError
from pipeline.client.feed_sender import FeedSender
from pipeline.config.camera import CameraConfig
from pipeline.flow.clock import SystemClock
from pipeline.flow.frame import Frame
from pipeline.sources import open_source
from pipeline.sources.replay import ReplaySource
from pipeline.sources.source import Backoff, Pacer


def collect(source: ReplaySource) -> list[Frame]:
    return list(source.frames(threading.Event()))


def test_a_replay_is_shuffled_by_its_seed_and_carries_labels(drawn: Path) -> None:
    orders = [[frame.part for frame in collect(ReplaySource("c", drawn, None, seed))] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(map(str, orders[0])) == sorted(map(str, orders[2]))
    frames = collect(ReplaySource("c", drawn))
    assert [frame.sequence for frame in frames] == list(range(18))
    for frame in frames:
        assert frame.part is not None
        assert frame.label == frame.part.split("/")[0]


def test_a_replay_keeps_its_rate(drawn: Path) -> None:
    """No frame comes before its moment."""
    started = time.monotonic()
    for index, _ in enumerate(ReplaySource("c", drawn, 100.0).frames(threading.Event())):
        assert time.monotonic() - started >= index / 100 - 0.001


def test_a_pacer_that_fell_behind_does_not_hurry() -> None:
    pacer, stop = Pacer(50.0), threading.Event()
    assert pacer.wait(stop)
    time.sleep(0.2)
    moments = []
    for _ in range(3):
        pacer.wait(stop)
        moments.append(time.monotonic())
    assert moments[2] - moments[0] >= 0.039
    stop.set()
    assert not pacer.wait(stop)


class SteppedClock(SystemClock):
    """A wall clock that is set back by an hour each time that it is read."""

    def __init__(self) -> None:
        self._steps = itertools.count()

    def wall_ns(self) -> int:
        return super().wall_ns() - next(self._steps) * 3600 * 10**9


@pytest.mark.parametrize("kind", ["folder", "replay", "feed"])
def test_a_wall_clock_that_is_set_changes_dates_only(kind: str, drawn: Path, tmp_path: Path) -> None:
    address = f"ipc://{tmp_path}/feed"
    source = {"folder": f"folder:{drawn}/test/good", "replay": f"replay:{drawn}", "feed": f"feed:{address}"}[kind]
    began = time.monotonic_ns()
    over = threading.Event()
    frames = open_source(CameraConfig(name="c", source=source), SteppedClock()).frames(over)
    with FeedSender(address) as sender:
        for _ in range(3):
            if kind == "feed":
                sender.send(b"")
        found = list(itertools.islice(frames, 3))
        over.set()
        assert all(frame is not None for frame in frames)
    moments = [began, *(frame.captured for frame in found), time.monotonic_ns()]
    assert moments == sorted(moments)
    assert found[2].captured_at < found[0].captured_at - 3600 * 10**9


def test_pauses_grow_until_an_attempt_is_good() -> None:
    backoff, pauses = Backoff(1.0, 5.0), []
    for _ in range(4):
        pauses.append(backoff.pause_s)
        backoff.failed()
    assert pauses == [1.0, 2.0, 4.0, 5.0]
    backoff.recovered()
    assert backoff.pause_s == 1.0


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("carrier-pigeon:7", "is of an unknown kind; give replay:DIR"),
        ("ftp://operator:secret@cam/part", r"operator:\*\*\*@cam"),
        ("file:none.avi", "there is no video file none.avi"),
        ("folder:none", "cannot be read"),
    ],
)
def test_what_cannot_be_opened_is_refused(source: str, words: str) -> None:
    with pytest.raises((ConfigError, DataError), match=words) as refused:
        open_source(CameraConfig(name="c", source=source))
    assert "secret" not in str(refused.value)
