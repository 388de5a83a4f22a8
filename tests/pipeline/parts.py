"""The end of a line without the rest: verdicts go in by hand, and out through real sockets and files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from engines.closing import Closing, closed_on_error
from pipeline.config.sections import JournalSection, PublishSection
from pipeline.flow.channel import Channel
from pipeline.flow.closing import ClosingStack
from pipeline.flow.decided import Decided
from pipeline.flow.frame import Frame
from pipeline.flow.stage import Stage
from pipeline.journal.check import JournalCheck, Verification
from pipeline.journal.reader import JournalReader
from pipeline.journal.search import Found
from pipeline.journal.selection import Selection
from pipeline.journal.store import Journal
from pipeline.protocol.verdict import Heatmap, Latency, Outcome, Region, Verdict
from pipeline.publish.metrics import LineMetrics
from pipeline.publish.publisher import Publisher, PublisherSocket
from pipeline.publish.replay_server import ReplayServer, ReplaySocket
from pipeline.security.curve import Access

PICTURE = np.tile(np.arange(48, dtype=np.uint8)[:, None, None], (1, 64, 3))


def decide(
    camera: str, sequence: int, outcome: Outcome = "ok", captured_at: int | None = None, line: str = "test"
) -> Decided:
    """A frame with its verdict; one that is `ng` has a heatmap."""
    bad = outcome == "ng"
    heatmap = Heatmap(np.full((28, 28), sequence % 256, np.uint8), 0.0, 12.0) if bad else None
    verdict = Verdict(
        line=line, camera=camera, sequence=sequence, verdict=outcome, reason=None, score=9.5 if bad else 1.0,
        threshold=2.0, regions=(Region(1, 2, 3, 4, 9.5),) if bad else (), part=f"{sequence}.png",
        captured_at=captured_at or time.time_ns(), latency=Latency(1, 2, 3, 0), engine="none", precision="f32",
        exact=True, bundle="0123456789ab",
    )  # fmt: skip
    now = time.monotonic_ns()
    return Decided(Frame(camera, sequence, PICTURE, verdict.captured_at, now), verdict, None, heatmap, now)


class Running(Closing):
    """A publisher with its journal and replay; leaving it drains and closes them."""

    def __init__(
        self,
        publish: dict[str, Any],
        journal: dict[str, Any] | None,
        cameras: Sequence[str] = ("a",),
        name: str = "test",
    ) -> None:
        self.name = name
        section = PublishSection.model_validate(publish)
        access = Access(section.curve_secret, section.allowed_clients, section.insecure)
        self._parts = ClosingStack()
        with closed_on_error(self._parts):
            self.socket = PublisherSocket(section.verdicts, section.high_water_mark, access)
            self._parts.add("the publisher's socket", self.socket.close)
            self.journal = None if journal is None else Journal(JournalSection.model_validate(journal))
            if self.journal is not None:
                self._parts.add("the journal", self.journal.close)
            self.replay: ReplayServer | None = None
            if section.replay is not None and self.journal is not None:
                self.replay = ReplayServer(ReplaySocket(section.replay, access), self.journal)
                self._parts.add("the replay", self.replay.close)
        first = {} if self.journal is None else {camera: self.journal.first(camera) for camera in cameras}
        self.next = {camera: first.get(camera, 0) for camera in cameras}
        self._inbox: Channel[Decided] = Channel(1000)
        self._published: Channel[Decided] = Channel(100_000)
        self.failures: list[tuple[str, BaseException]] = []
        publisher = Publisher(self.socket, self._inbox, self._published, LineMetrics(cameras), self.journal)
        self._stages: list[Stage] = [publisher, *([] if self.journal is None else self.journal.stages())]
        for stage in (*self._stages, *([] if self.replay is None else [self.replay])):
            stage.start(self._failed)

    def publish(
        self, count: int, camera: str = "a", ng_every: int = 10, captured_at: int | None = None
    ) -> list[Verdict]:
        """Publishes so many verdicts of a camera and returns them once they are out."""
        for _ in range(count):
            sequence = self.next[camera]
            self.next[camera] += 1
            outcome: Outcome = "ng" if sequence % ng_every == 0 else "ok"
            self._inbox.put(decide(camera, sequence, outcome, captured_at, self.name))
        return [self._published.get(30).verdict for _ in range(count)]

    def status(self) -> dict[str, Any]:
        assert self.journal is not None
        return self.journal.status()

    def close(self) -> None:
        self._inbox.close()
        for stage in self._stages:
            assert stage.join(30)
        self._parts.close()
        assert not self.failures

    def _failed(self, name: str, error: BaseException) -> None:
        self.failures.append((name, error))


def until(condition: Any, seconds: float = 60) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def settled_handles() -> tuple[int, int]:
    """Returns this process's numbers of open files and of threads, once they rest: ZeroMQ closes some after `close`."""
    process = psutil.Process()
    seen = [(process.num_fds(), threading.active_count())]

    def settled() -> bool:
        time.sleep(0.02)
        seen.append((process.num_fds(), threading.active_count()))
        return len(seen) > 10 and len(set(seen[-10:])) == 1

    until(settled)
    return seen[-1]


def verify(path: Path) -> Verification:
    with JournalCheck(path) as check:
        return check.run()


def held(path: Path, selection: Selection | None = None) -> list[Found]:
    """All that a journal holds."""
    with JournalReader(path) as reader:
        return list(reader.find(selection or Selection()))


def sequences(found: Iterator[Verdict] | Sequence[Verdict], camera: str = "a") -> list[int]:
    return [verdict.sequence for verdict in found if verdict.camera == camera]
