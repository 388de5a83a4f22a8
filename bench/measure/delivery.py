"""Measures what journaling and publishing cost, without the rest of the line."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.measure.scratch import scratch_folder
from engines.errors import ConfigError, TaktlineError
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.sections import JournalSection
from pipeline.flow.channel import Channel
from pipeline.flow.closing import ClosingStack
from pipeline.flow.decided import Decided
from pipeline.flow.frame import Frame
from pipeline.journal.store import Journal
from pipeline.protocol.verdict import Heatmap, Latency, Region, Verdict
from pipeline.publish.metrics import LineMetrics
from pipeline.publish.publisher import Publisher, PublisherSocket

_CAMERA = "bench"
_QUEUE = 1024
_TIMEOUT_S = 120
_HEATMAP = (28, 28)
_NG_EVERY = 10
_MOST_VERDICTS = 1_000_000


@dataclass(frozen=True)
class Delivered:
    """The cost of delivery with one kind of journal; medians over the runs.

    Attributes:
        journal: what verdicts survive: `process`, `power`, or `none` without a journal.
        verdicts_per_s: throughput at full load.
        p50_ms: median time from a verdict's decision until another process has it, at the moderate rate.
        p99_ms: the 99th percentile of that.
    """

    journal: str
    verdicts_per_s: float
    p50_ms: float
    p99_ms: float


def measure_delivery(
    folder: Path | None, rate: float, seconds: float, count: int, runs: int, durabilities: tuple[str, ...]
) -> list[Delivered]:
    """Measures delivery without a journal and with one.

    Every tenth verdict is `ng` and carries a heatmap; a subscriber in another process receives them all. The publishing
    process stays on one core.

    Args:
        folder: where to put the journal, so that the right disk is measured; None for a temporary folder.
        rate: verdicts per second while latency is measured; each is sent on time, whether or not the last has arrived.
        seconds: how long latency is measured.
        count: number of verdicts to measure throughput.
        runs: number of runs for the medians.
        durabilities: the journal's durabilities to measure: `process`, `power`.

    Raises:
        ConfigError: these are more verdicts than one run can hold.
        TaktlineError: not every verdict arrived.
    """
    if max(count, rate * seconds) > _MOST_VERDICTS:
        raise ConfigError(f"one run holds at most {_MOST_VERDICTS} verdicts; give a lower count or rate, or less time")
    results = []
    for durability in ("none", *durabilities):
        found = []
        for _ in range(runs):
            with scratch_folder(folder) as place:
                throughput = _full_load(place, durability, count)
            with scratch_folder(folder) as place:
                latencies = _moderate_load(place, durability, rate, round(rate * seconds))
            found.append((throughput, *np.quantile(latencies, (0.5, 0.99))))
        results.append(Delivered(durability, *(float(value) for value in np.median(found, axis=0))))
    return results


def receive_for(address: str, count: int) -> None:
    """Receives `count` verdicts and prints each one's arrival in monotonic nanoseconds. Runs in the other process."""
    times = np.empty(count, np.int64)
    with VerdictSubscriber(address) as subscriber:
        for index in range(count):
            subscriber.receive(_TIMEOUT_S)
            times[index] = time.monotonic_ns()
    sys.stdout.buffer.write(times.tobytes())


def _full_load(folder: Path, durability: str, count: int) -> float:
    with _delivery(folder, durability, count) as (inbox, received):
        batch = _verdicts(count)
        started = time.monotonic_ns()
        for decided in batch:
            inbox.put(decided)
        return count / (int(received()[-1]) - started) * 1e9


def _moderate_load(folder: Path, durability: str, rate: float, count: int) -> npt.NDArray[np.float64]:
    with _delivery(folder, durability, count) as (inbox, received):
        batch = _verdicts(count)
        due = time.monotonic_ns() + round(1e9 / rate) * np.arange(count)
        for decided, moment in zip(batch, due, strict=True):
            time.sleep(max(0.0, (int(moment) - time.monotonic_ns()) / 1e9))
            decided.decided = time.monotonic_ns()
            inbox.put(decided)
        decided_at = np.array([decided.decided for decided in batch])
        return np.asarray((received() - decided_at) / 1e6, np.float64)


@contextmanager
def _delivery(folder: Path, durability: str, count: int) -> Iterator[tuple[Channel[Decided], Any]]:
    """Runs a line's delivery with a subscriber in another process; yields its inbox and a getter of arrival times."""
    address = f"ipc://{folder / 'verdicts.sock'}"
    command = [sys.executable, "-c", f"from {__name__} import receive_for; receive_for({address!r}, {count})"]
    inbox: Channel[Decided] = Channel(_QUEUE)
    failures: list[BaseException] = []
    peer = subprocess.Popen(command, stdout=subprocess.PIPE)

    def received() -> npt.NDArray[np.int64]:
        inbox.close()
        output, _ = peer.communicate(timeout=_TIMEOUT_S)
        if failures or len(output) != 8 * count:
            raise TaktlineError(f"{len(output) // 8} of {count} verdicts arrived; report this defect of Taktline")
        return np.frombuffer(output, np.int64)

    try:
        with _one_core(), ClosingStack() as parts:
            socket = PublisherSocket(address)
            parts.add("the publisher's socket", socket.close)
            journal = None
            if durability != "none":
                settings = {"path": folder / "bench.journal", "durability": durability}
                journal = Journal(JournalSection.model_validate(settings))
                parts.add("the journal", journal.close)
            socket.await_subscribers(1, _TIMEOUT_S, threading.Event())
            publisher = Publisher(socket, inbox, None, LineMetrics([_CAMERA]), journal)
            stages = [publisher, *([] if journal is None else journal.stages())]
            for stage in stages:
                stage.start(lambda _name, error: failures.append(error))
            try:
                yield inbox, received
            finally:
                inbox.close()
                for stage in stages:
                    stage.join(_TIMEOUT_S)
    finally:
        peer.kill()
        peer.communicate()


def _verdicts(count: int) -> list[Decided]:
    grid = np.random.default_rng(0).integers(0, 255, _HEATMAP, np.uint8)
    heatmap, regions = Heatmap(grid, 0.0, 12.0), (Region(120, 80, 60, 40, 9.5),)
    batch = []
    for sequence in range(count):
        bad = sequence % _NG_EVERY == 0
        frame = Frame(_CAMERA, sequence, None, time.time_ns(), time.monotonic_ns())
        verdict = Verdict(
            line="bench", camera=_CAMERA, sequence=sequence, verdict="ng" if bad else "ok", reason=None, score=3.5,
            threshold=2.0, regions=regions if bad else (), part=f"lot-17/{sequence:06d}.png",
            captured_at=frame.captured_at, latency=Latency(9_000_000, 21_000_000, 300_000, 0), engine="openvino",
            precision="bf16", exact=True, bundle="0123456789ab",
        )  # fmt: skip
        batch.append(Decided(frame, verdict, None, heatmap if bad else None, time.monotonic_ns()))
    return batch


@contextmanager
def _one_core() -> Iterator[None]:
    """Keeps this thread and those that it starts on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
