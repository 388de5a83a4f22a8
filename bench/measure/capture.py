"""Measures how many pictures cameras can deliver on this machine: in threads, as in a line, and in processes.

If threads had to wait for the interpreter's lock, they would fall behind processes, which do not share one.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from engines.errors import TaktlineError
from pipeline.config.camera import CameraConfig
from pipeline.flow.frame import Frame
from pipeline.sources import open_source

Way = Literal["threads", "processes"]

_OPEN_S = 15.0


@dataclass(frozen=True)
class Captured:
    """What cameras delivered in threads or in processes.

    Attributes:
        way: threads of one process, or one process per camera.
        cameras: number of cameras.
        pictures_per_s: rate of all cameras together.
        slowest_per_s: rate of the slowest camera.
        cpu_ms: processor time per picture, in milliseconds.
    """

    way: Way
    cameras: int
    pictures_per_s: float
    slowest_per_s: float
    cpu_ms: float


def measure_capture(config: CameraConfig, cameras: int, seconds: float, rounds: int = 2) -> list[Captured]:
    """Reads the same source with several cameras at once and discards the pictures.

    Threads and processes take turns; for each, the better round counts.

    Args:
        config: the source; a video file starts over at its end.
        cameras: number of cameras that read it.
        seconds: length of each round.
        rounds: rounds for threads and for processes.

    Raises:
        TaktlineError: the source gives no picture.
    """
    open_source(config).close()
    ways: tuple[Way, Way] = ("threads", "processes")
    found = [_measure(way, config, cameras, seconds) for _ in range(rounds) for way in ways]
    return [max((item for item in found if item.way == way), key=lambda item: item.pictures_per_s) for way in ways]


def _measure(way: Way, config: CameraConfig, cameras: int, seconds: float) -> Captured:
    context = multiprocessing.get_context("spawn")
    barrier: Any = threading.Barrier(cameras) if way == "threads" else context.Barrier(cameras)
    answers: Any = queue.Queue() if way == "threads" else context.Queue()
    worker: Any = threading.Thread if way == "threads" else context.Process
    arguments = (config, seconds, barrier, answers, way == "processes")
    workers = [worker(target=_read, args=arguments, daemon=True) for _ in range(cameras)]
    before = _cpu_s()
    for one in workers:
        one.start()
    found = []
    for _ in workers:
        # One that failed ends the measurement at once: the others would wait for it.
        answer = _take(answers, 2 * _OPEN_S + seconds)
        if answer is None:
            raise TaktlineError(
                f"the source gave no picture; check that it is there and serves {cameras} readers at once"
            )
        found.append(answer)
    for one in workers:
        one.join()
    rates = [count / span for count, span, _ in found]
    counts = sum(count for count, _, _ in found)
    # Threads share one clock, so it is read around all of them, opening included.
    cpu = _cpu_s() - before if way == "threads" else sum(cpu for _, _, cpu in found)
    return Captured(way, cameras, sum(rates), min(rates), 1000 * cpu / max(1, counts))


def _take(answers: Any, timeout: float) -> tuple[int, float, float] | None:
    try:
        answer: tuple[int, float, float] | None = answers.get(timeout=timeout)
    except queue.Empty:
        return None
    return answer


def _read(config: CameraConfig, seconds: float, barrier: Any, answers: Any, own_process: bool) -> None:
    over = threading.Event()
    silent = threading.Timer(_OPEN_S, over.set)
    silent.start()
    frames = _frames(config, over)
    try:
        if next(frames, None) is None:
            answers.put(None)
            return
        silent.cancel()
        barrier.wait(_OPEN_S)
        start, cpu, count = time.monotonic(), _cpu_s(), 0
        while (span := time.monotonic() - start) < seconds and next(frames, None) is not None:
            count += 1
        answers.put((count, span, _cpu_s() - cpu if own_process else 0.0))
    except (TaktlineError, threading.BrokenBarrierError):
        answers.put(None)
    finally:
        silent.cancel()
        over.set()


def _frames(config: CameraConfig, over: threading.Event) -> Iterator[Frame]:
    """Yields a source's frames, starting over at its end, unless it gives none at all."""
    came = True
    while came and not over.is_set():
        came = False
        for frame in open_source(config).frames(over):
            came = True
            yield frame


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system
