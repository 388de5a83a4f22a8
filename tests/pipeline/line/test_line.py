"""The whole line over a real socket: one verdict for every frame, a clean end, and a loud one where it must be."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle
from engines.engine import Engine, Frames, Scores
from engines.errors import ConfigError, EngineError, LineDown, TaktlineError
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.line_file import LineConfig, check_config
from pipeline.flow.frame import Frame
from pipeline.line.build import build_line
from pipeline.line.line import Line
from pipeline.protocol.verdict import Heatmap, Verdict
from pipeline.sources.source import Source
from tests.pipeline.parts import settled_handles

Received = list[tuple[Verdict, Heatmap | None]]


def config(bundle: Path, source: str, endpoint: str, **sections: dict[str, object]) -> LineConfig:
    values: dict[str, object] = {
        "model": {"bundle": str(bundle), "precision": "f32", "max_batch": 4},
        "camera": [{"name": "top", "source": source}],
        "publish": {"verdicts": endpoint, "await_subscribers": 1},
    }
    return check_config(values | sections, "test")


def run_line(line: Line, endpoint: str, count: int) -> Received:
    """Runs a line to its end and returns what a subscriber received."""
    with VerdictSubscriber(endpoint) as subscriber:
        line.start()
        received = [subscriber.receive(timeout=60) for _ in range(count)]
        assert line.wait(30)
        with pytest.raises(TimeoutError):
            subscriber.receive(timeout=0.3)
    return received


@pytest.mark.usefixtures("no_thread_left")
def test_every_frame_gets_one_verdict_in_order(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    settings = config(bundle_path, f"replay:{drawn}", endpoint, decision={"heatmaps": "all"})
    with build_line(settings) as line:
        received = run_line(line, endpoint, 18)
        short_id = line.model.bundle.short_id
    assert [verdict.sequence for verdict, _ in received] == list(range(18))
    for verdict, heatmap in received:
        assert verdict.score is not None
        assert (verdict.score > verdict.threshold) == (verdict.verdict == "ng")
        assert (verdict.line, verdict.camera, verdict.bundle) == ("line", "top", short_id)
        assert verdict.exact
        assert abs(time.time_ns() - verdict.captured_at) < 120e9
        parts = verdict.latency
        assert min(parts.queue, parts.infer, parts.decide, parts.publish) > 0
        assert heatmap is not None
        assert heatmap.grid.shape == (8, 8)


@pytest.mark.usefixtures("no_thread_left")
def test_broken_pictures_are_answered_and_the_line_goes_on(
    drawn: Path, bundle_path: Path, endpoint: str, tmp_path: Path
) -> None:
    """Also a batch in which nothing can be inspected."""
    pictures = sorted((drawn / "test" / "good").iterdir())
    for index, path in enumerate(pictures):
        data = path.read_bytes()
        broken = index in (1, 4, 5, 6, 7)
        (tmp_path / path.name).write_bytes(data[: len(data) // 2] if broken else data)
    with build_line(config(bundle_path, f"folder:{tmp_path}", endpoint)) as line:
        received = run_line(line, endpoint, 8)
    assert [verdict.sequence for verdict, _ in received] == list(range(8))
    reasons = [verdict.reason for verdict, _ in received]
    assert reasons == [None, "corrupt", None, None, "corrupt", "corrupt", "corrupt", "corrupt"]
    assert all(verdict.score is None for verdict, _ in received if verdict.verdict == "uninspected")


def test_two_cameras_each_count_their_own(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    names = (("cam1", 0), ("cam10", 1))
    cameras = [{"name": name, "source": f"replay:{drawn}", "seed": seed} for name, seed in names]
    settings = config(
        bundle_path, "", endpoint,
        camera=cameras,  # type: ignore[arg-type]
    )  # fmt: skip
    with build_line(settings) as line, VerdictSubscriber(endpoint, ("cam1",)) as only:
        line.start()
        received = [only.receive(60)[0] for _ in range(18)]
        assert line.wait(30)
        with pytest.raises(TimeoutError):
            only.receive(0.3)
    assert {verdict.camera for verdict in received} == {"cam1"}
    assert [verdict.sequence for verdict in received] == list(range(18))


class FailingEngine(Engine):
    """An engine whose third batch fails, and all after it where it `stays` so; scores are the frames' brightness."""

    name = "failing"

    def __init__(self, bundle: Bundle, error: type[Exception], stays: bool) -> None:
        super().__init__(bundle.size, "f32", 1, "cpu")
        self._error, self._stays, self._count = error, stays, 0

    def _submit(self, frames: Frames, _until: int | None) -> Future[Scores]:
        self._count += 1
        future: Future[Scores] = Future()
        if self._count == 3 or (self._stays and self._count > 3):
            future.set_exception(self._error("the card fell off the bus"))
        else:
            future.set_result(
                self._scores(frames.mean((1, 2, 3)).astype(np.float32), np.zeros((1, 28, 28), np.float32))
            )
        return future

    def _close(self) -> None:
        pass


def line_with(engine_error: type[Exception], settings: LineConfig, stays: bool = False) -> Line:
    return build_line(settings, opener=lambda bundle: FailingEngine(bundle, engine_error, stays))


# The engine's own error fails a batch; any other makes the stage behind it stumble, which is started again.
@pytest.mark.usefixtures("no_thread_left")
@pytest.mark.parametrize("error", [EngineError, ZeroDivisionError])
def test_a_batch_that_fails_is_answered_and_the_line_goes_on(
    error: type[Exception], drawn: Path, bundle_path: Path, endpoint: str
) -> None:
    with line_with(error, config(bundle_path, f"replay:{drawn}", endpoint)) as line:
        received = run_line(line, endpoint, 18)
    assert [verdict.sequence for verdict, _ in received] == list(range(18))
    assert [verdict.sequence for verdict, _ in received if verdict.reason == "engine_error"] == [2]


@pytest.mark.usefixtures("no_thread_left")
def test_a_stage_that_dies_takes_the_line_down_loudly(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    with (
        line_with(ZeroDivisionError, config(bundle_path, f"replay:{drawn}", endpoint), stays=True) as line,
        VerdictSubscriber(endpoint) as subscriber,
    ):
        line.start()
        with pytest.raises(LineDown, match="'decision' failed") as caught:
            line.wait(30)
        received = [subscriber.receive(5)[0] for _ in range(6)]
    # Two were inspected; then the stage failed, was started again three times, and answered for what it held.
    assert [verdict.sequence for verdict in received] == list(range(6))
    assert [verdict.reason for verdict in received] == [None, None, *["engine_error"] * 4]
    assert caught.value.exit_code == 70
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.usefixtures("no_thread_left")
def test_a_thread_that_a_library_ends_takes_the_line_down_too(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    class Quitting(Source):
        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            yield Frame(self.camera, 0, np.zeros((64, 64, 3), np.uint8), time.time_ns(), time.monotonic_ns())
            sys.exit("the driver knows better")

    settings = config(bundle_path, f"replay:{drawn}", endpoint, publish={"verdicts": endpoint})
    with build_line(
        settings, sources=[Quitting("top")], opener=lambda bundle: FailingEngine(bundle, EngineError, False)
    ) as line:
        line.start()
        with pytest.raises(LineDown, match=r"'capture top' failed .*the driver knows better"):
            line.wait(30)
        assert not line.status()["live"]


@pytest.mark.usefixtures("no_thread_left")
def test_stopping_answers_for_what_is_in_the_line(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    with (
        build_line(config(bundle_path, f"replay:{drawn}", endpoint), watched=True) as line,
        VerdictSubscriber(endpoint) as subscriber,
    ):
        line.start()
        first = next(line.decided())
        line.drain()
        rest = list(line.decided())
        count = 1 + len(rest)
        received = [subscriber.receive(10)[0].sequence for _ in range(count)]
    assert first.verdict.sequence == 0
    assert received == list(range(count))


def test_no_handle_is_left_behind(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    counts = []
    for _ in range(3):
        with build_line(config(bundle_path, f"replay:{drawn}", endpoint)) as line:
            run_line(line, endpoint, 18)
        counts.append(settled_handles())
    assert counts[1] == counts[2]


def test_a_port_in_use_is_told(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    settings = config(bundle_path, f"replay:{drawn}", endpoint)
    with build_line(settings), pytest.raises(ConfigError, match="in use"):
        build_line(settings)


def test_missing_subscribers_are_told(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    publish = {"verdicts": endpoint, "await_subscribers": 2, "await_s": 0.3}
    with (
        build_line(config(bundle_path, f"replay:{drawn}", endpoint, publish=publish)) as line,
        VerdictSubscriber(endpoint),
        pytest.raises(TaktlineError, match="1 of 2 subscribers"),
    ):
        line.start()
