"""Where frames wait: bounded, in turn, with the oldest giving way or the source waiting."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.flow.channel import ChannelClosed
from pipeline.flow.frame import Frame
from pipeline.line.fair_queue import FairQueue
from pipeline.line.service_time import ServiceTime


def frame(camera: str, sequence: int) -> Frame:
    return Frame(camera, sequence, None, time.time_ns(), time.monotonic_ns())


def test_a_flooding_camera_drops_its_own_and_starves_none() -> None:
    intake = FairQueue({"flood": "drop_oldest", "calm": "drop_oldest"}, 4)
    dropped = [intake.put(frame("flood", number)) for number in range(100)]
    assert [gone.sequence for gone in dropped if gone is not None] == list(range(96))
    intake.put(frame("calm", 0))
    intake.put(frame("calm", 1))
    taken = [(waiting.camera, waiting.sequence) for waiting in intake.take(4)]
    assert taken == [("flood", 96), ("calm", 0), ("flood", 97), ("calm", 1)]
    assert [waiting.sequence for waiting in intake.take(9)] == [98, 99]
    assert intake.take(9) == []


def test_a_source_that_may_not_lose_frames_waits() -> None:
    intake = FairQueue({"files": "block"}, 2)
    done = threading.Event()

    def write() -> None:
        for number in range(20):
            assert intake.put(frame("files", number)) is None
        intake.close("files")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert not done.wait(0.1)
    found: list[int] = []
    while not intake.ended:
        with intake.changed:
            intake.changed.wait_for(lambda: intake.waiting or intake.ended, 5)
        found += [waiting.sequence for waiting in intake.take(8)]
    writer.join()
    assert found == list(range(20))


def test_breaking_off_wakes_who_waits() -> None:
    intake = FairQueue({"files": "block"}, 1)
    intake.put(frame("files", 0))
    raised: list[Exception] = []

    def write() -> None:
        try:
            intake.put(frame("files", 1))
        except ChannelClosed as error:
            raised.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    intake.abort()
    writer.join(5)
    assert len(raised) == 1
    with pytest.raises(ChannelClosed):
        intake.take(1)


def test_the_pace_is_a_high_quantile_of_what_was_seen() -> None:
    pace = ServiceTime()
    assert pace.expect(4) == 0
    for number in range(1, 101):
        pace.note(4, number * 1000)
    # The last 64 are remembered: 37,000 to 100,000.
    assert 90_000 <= pace.expect(4) <= 96_000
    assert pace.expect(8) == 2 * pace.expect(4)
    assert pace.expect(2) == pace.expect(4)
    pace.note(1, 500)
    assert pace.expect(1) == 500
