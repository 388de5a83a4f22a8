"""Batches in flight: in order, bounded, and none hangs where the device fails."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from engines.engine import Frames, Scores
from engines.errors import EngineError
from engines.jobs import Jobs


class Device:
    """A device that can be lost: what its slots do from then on fails, as CUDA does."""

    def __init__(self) -> None:
        self.lost = threading.Event()
        self.go = threading.Event()
        self.go.set()


class DeviceSlot:
    """A slot of it, whose scores are the frames' mean."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def start(self, frames: Frames) -> None:
        if self._device.lost.is_set():
            raise RuntimeError("the device is gone")
        self._frames = frames

    def finish(self) -> Scores:
        self._device.go.wait(10)
        if self._device.lost.is_set():
            raise RuntimeError("details\nthe launch failed")
        count = len(self._frames)
        score = self._frames.mean((1, 2, 3)).astype(np.float32)
        return Scores(score, np.zeros((count, 1, 1), np.float32), np.ones(count, np.bool_), np.zeros(count, np.bool_))


def batch(value: int) -> Frames:
    return np.full((1, 2, 2, 3), value, np.uint8)


@pytest.mark.usefixtures("no_thread_left")
def test_answers_come_in_order_and_never_more_are_in_flight_than_slots() -> None:
    device = Device()
    jobs = Jobs("test", [DeviceSlot(device), DeviceSlot(device)])
    assert [float(jobs.submit(batch(value)).result().score[0]) for value in range(9)] == list(range(9))
    device.go.clear()
    futures = [jobs.submit(batch(value)) for value in (1, 2)]
    third: list[Future[Scores]] = []
    waiting = threading.Thread(target=lambda: third.append(jobs.submit(batch(3))))
    waiting.start()
    waiting.join(0.2)
    assert not third
    device.go.set()
    waiting.join(10)
    assert [float(future.result().score[0]) for future in (*futures, *third)] == [1, 2, 3]
    jobs.close()


@pytest.mark.usefixtures("no_thread_left")
def test_a_lost_device_fails_every_batch_and_hangs_none() -> None:
    device = Device()
    jobs = Jobs("test", [DeviceSlot(device), DeviceSlot(device)])
    device.go.clear()
    in_flight = [jobs.submit(batch(value)) for value in (1, 2)]
    device.lost.set()
    device.go.set()
    for future in in_flight:
        with pytest.raises(EngineError, match="test failed on a batch: the launch failed"):
            future.result(10)
    for _ in range(5):
        with pytest.raises(EngineError, match="the device is gone"):
            jobs.submit(batch(4))
    device.lost.clear()
    assert float(jobs.submit(batch(5)).result(10).score[0]) == 5
    jobs.close()
