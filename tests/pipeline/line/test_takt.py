"""Every frame is answered once, in order, by its takt, whatever the engine does and however fast frames come."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import psutil
import pytest

from engines.bundle import Bundle
from engines.engine import Engine, Frames, Scores
from engines.errors import EngineError, EngineUnavailable
from engines.failover import FailoverEngine
from engines.jobs import Jobs
from pipeline.flow.frame import Frame
from pipeline.line.build import build_line
from pipeline.protocol.verdict import Verdict
from pipeline.sources.source import Source
from tests.pipeline.line.test_line import config

pytestmark = pytest.mark.serial

PICTURE = np.zeros((64, 64, 3), np.uint8)


class TimedSlot:
    """A batch that takes as long as it is told."""

    def __init__(self, engine: TimedEngine) -> None:
        self._engine = engine

    def start(self, frames: Frames) -> None:
        self._count = len(frames)

    def finish(self) -> Scores:
        self._engine.serve(self._count)
        score = np.zeros(self._count, np.float32)
        return self._engine._scores(score, np.zeros((self._count, 28, 28), np.float32))


class TimedEngine(Engine):
    """An engine with a known service time for each batch."""

    name = "timed"

    def __init__(self, size: tuple[int, int], serve: Callable[[int], None], max_batch: int = 4) -> None:
        super().__init__(size, "f32", max_batch, "cpu")
        self.serve = serve
        self._jobs = Jobs(self.name, [TimedSlot(self) for _ in range(self.jobs)])

    def _submit(self, frames: Frames, _until: int | None) -> Future[Scores]:
        return self._jobs.submit(frames)

    def _close(self) -> None:
        self._jobs.close()


class Camera(Source):
    """A camera that gives frames at a steady rate, whether or not they are taken."""

    def __init__(self, camera: str, fps: float, count: int) -> None:
        super().__init__(camera)
        self._period, self._count = 1 / fps, count

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        started = time.monotonic()
        for number in range(self._count):
            if stop.wait(max(0.0, started + number * self._period - time.monotonic())):
                return
            yield Frame(self.camera, number, PICTURE, time.time_ns(), time.monotonic_ns())


def run(
    bundle: Path,
    drawn: Path,
    endpoint: str,
    serve: Callable[[int], None] | Engine,
    cameras: Sequence[Camera],
    takt_ms: float | None,
) -> list[Verdict]:
    """Runs a line of played cameras and a timed engine to its end and returns what it answered."""
    settings = config(
        bundle,
        "",
        endpoint,
        line={"takt_ms": takt_ms},
        camera=[  # type: ignore[arg-type]
            {"name": camera.camera, "source": f"replay:{drawn}", "on_overload": "drop_oldest"} for camera in cameras
        ],
        publish={"verdicts": endpoint},
    )

    def opener(bundle: Bundle) -> Engine:
        return serve if isinstance(serve, Engine) else TimedEngine(bundle.size, serve)

    with build_line(settings, sources=cameras, opener=opener, watched=True) as line:
        line.start()
        return [decided.verdict for decided in line.decided()]


def check_order(verdicts: list[Verdict], cameras: Sequence[Camera]) -> None:
    for camera in cameras:
        found = [verdict.sequence for verdict in verdicts if verdict.camera == camera.camera]
        assert found == list(range(camera._count))


@pytest.mark.usefixtures("no_thread_left")
def test_at_twice_the_rate_all_are_answered_in_time_and_most_of_the_engine_is_used(
    drawn: Path, bundle_path: Path, endpoint: str
) -> None:
    # 40 frames a second are what it can do: four in 100 ms.
    served: list[int] = []

    def serve(count: int) -> None:
        served.append(count)
        time.sleep(0.1)

    cameras = [Camera("a", 40, 160), Camera("b", 40, 160)]
    verdicts = run(bundle_path, drawn, endpoint, serve, cameras, 500)
    check_order(verdicts, cameras)
    assert max(verdict.latency.total for verdict in verdicts) <= 500e6
    reasons = Counter(verdict.reason for verdict in verdicts)
    print(reasons, Counter(served))
    assert set(reasons) <= {None, "dropped", "late"}
    # Four seconds at 40 a second.
    assert reasons[None] >= 0.8 * 160
    shares = Counter(verdict.camera for verdict in verdicts if verdict.reason is None)
    assert min(shares.values()) >= 0.35 * reasons[None]


@pytest.mark.usefixtures("no_thread_left")
def test_an_engine_that_hangs_holds_no_answer_up(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    first = threading.Event()

    def serve(_count: int) -> None:
        if not first.is_set():
            first.set()
            time.sleep(1.5)

    cameras = [Camera("a", 20, 40)]
    verdicts = run(bundle_path, drawn, endpoint, serve, cameras, 300)
    check_order(verdicts, cameras)
    assert max(verdict.latency.total for verdict in verdicts) <= 300e6
    assert verdicts[0].reason == "late"
    assert verdicts[-1].reason is None


@pytest.mark.usefixtures("no_thread_left")
def test_without_a_takt_nothing_is_late_and_batches_grow_under_load(
    drawn: Path, bundle_path: Path, endpoint: str
) -> None:
    served: list[int] = []

    def serve(count: int) -> None:
        served.append(count)
        time.sleep(0.05)

    cameras = [Camera("a", 60, 60)]
    verdicts = run(bundle_path, drawn, endpoint, serve, cameras, None)
    check_order(verdicts, cameras)
    assert {verdict.reason for verdict in verdicts} <= {None, "dropped"}
    assert served[0] < 4
    assert max(served) >= 3


@pytest.mark.usefixtures("no_thread_left")
def test_memory_stays_flat_under_overload(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    def serve(_count: int) -> None:
        time.sleep(0.2)

    class Large(Camera):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            for frame in super().frames(stop):
                frame.image = np.full((1024, 1280, 3), frame.sequence % 256, np.uint8)
                yield frame

    process = psutil.Process()
    before = process.memory_info().rss
    peak = 0

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.05):
            peak = max(peak, process.memory_info().rss)

    over = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    cameras = [Large("a", 200, 400), Large("b", 200, 400)]
    verdicts = run(bundle_path, drawn, endpoint, serve, cameras, 1000)
    over.set()
    watcher.join()
    check_order(verdicts, cameras)
    # All 800 frames would be 3 GiB.
    assert peak - before < 500e6


@pytest.mark.usefixtures("no_thread_left")
def test_an_engine_that_fails_is_opened_again_or_replaced(
    drawn: Path, bundle_path: Path, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    opened: list[str] = []

    def broken() -> Engine:
        if opened:
            raise EngineUnavailable("the card is gone")
        opened.append("card")

        def serve(_count: int) -> None:
            raise EngineError("the card fell off the bus")

        return TimedEngine((64, 64), serve)

    def spare() -> Engine:
        opened.append("spare")
        return TimedEngine((64, 64), lambda _count: time.sleep(0.01))

    cameras = [Camera("a", 50, 60)]
    verdicts = run(bundle_path, drawn, endpoint, FailoverEngine([broken, spare]), cameras, 1000)
    check_order(verdicts, cameras)
    assert opened == ["card", "spare"]
    assert verdicts[0].reason == "engine_error"
    assert verdicts[-1].reason is None
    assert "failed 3 times in a row" in caplog.text
    assert "the card is gone" in caplog.text


@pytest.mark.usefixtures("no_thread_left")
def test_frames_in_flight_are_answered_where_the_engine_fails(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    calls = iter(range(1000))

    def serve(_count: int) -> None:
        if next(calls) % 3 == 1:
            raise EngineError("the card fell off the bus")
        time.sleep(0.02)

    cameras = [Camera("a", 50, 60)]
    verdicts = run(bundle_path, drawn, endpoint, serve, cameras, 1000)
    check_order(verdicts, cameras)
    reasons = Counter(verdict.reason for verdict in verdicts)
    assert reasons["engine_error"] > 0
    assert reasons[None] > 0
