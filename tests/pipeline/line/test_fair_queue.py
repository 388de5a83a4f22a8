"""Where frames wait: bounded, in turn, with the oldest giving way or the source waiting."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.flow.channel import ChannelClosed
from pipeline.flow.frame import Frame
from pipeline.line.fair_queue import FairQueue


def frame(camera: str, sequence: int) -> Frame:
    return Frame(camera, sequence, None, time.time_ns(), time.monotonic_ns())


def test_a_flooding_camera_drops_its_own_and_starves_none() -> None:
    queue = FairQueue({"flood": "drop_oldest", "calm": "drop_oldest"}, 4)
    dropped = [queue.put(frame("flood", number)) for number in range(100)]
    assert [gone.sequence for gone in dropped if gone is not None] == list(range(96))
    queue.put(frame("calm", 0))
    queue.put(frame("calm", 1))
    taken = [(waiting.camera, waiting.sequence) for waiting in queue.take(4)]
    assert taken == [("flood", 96), ("calm", 0), ("flood", 97), ("calm", 1)]
    assert [waiting.sequence for waiting in queue.take(9)] == [98, 99]
    assert queue.take(9) == []


def test_a_source_that_may_not_lose_frames_waits() -> None:
    queue = FairQueue({"files": "block"}, 2)
    done = threading.Event()

    def write() -> None:
        for number in range(20):
            assert queue.put(frame("files", number)) is None
        queue.close("files")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert not done.wait(0.1)
    found: list[int] = []
    while not queue.ended:
        version, waiting = queue.look()
        if not waiting:
            queue.wait(version, 5)
        found += [waiting.sequence for waiting in queue.take(8)]
    writer.join()
    assert found == list(range(20))


def test_breaking_off_wakes_who_waits() -> None:
    queue = FairQueue({"files": "block"}, 1)
    queue.put(frame("files", 0))
    raised: list[Exception] = []

    def write() -> None:
        try:
            queue.put(frame("files", 1))
        except ChannelClosed as error:
            raised.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    queue.abort()
    writer.join(5)
    assert len(raised) == 1
    with pytest.raises(ChannelClosed):
        queue.take(1)


def test_what_is_hopeless_or_too_much_leaves_and_calm_cameras_keep_theirs() -> None:
    queue = FairQueue({"flood": "drop_oldest", "calm": "drop_oldest"}, 8)
    for number in range(6):
        waiting = frame("flood", number)
        waiting.deadline = 100 + number
        queue.put(waiting)
    calm = frame("calm", 0)
    calm.deadline = 103
    queue.put(calm)
    assert [waiting.sequence for waiting in queue.trim(102, 0)] == [0, 1]
    assert [(gone.camera, gone.sequence) for gone in queue.trim(0, 3)] == [("flood", 2), ("flood", 3), ("flood", 4)]
    _, left = queue.look()
    assert [(waiting.camera, waiting.sequence) for waiting in left] == [("calm", 0), ("flood", 5)]
    calm.answered = True
    assert [waiting.camera for waiting in queue.look()[1]] == ["flood"]
