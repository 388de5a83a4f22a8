"""An engine that hangs makes the line not ready, with the reason; then the line goes on with the next one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engines.bundle import Bundle
from engines.choice import Candidate, Choice
from engines.engine import Engine
from engines.failover import FailoverEngine
from engines.succession import Limits
from pipeline.line.build import build_line
from tests.pipeline.line.test_line import config
from tests.pipeline.line.test_takt import Camera, TimedEngine
from tests.pipeline.parts import until


@pytest.mark.usefixtures("no_thread_left")
def test_a_hung_engine_is_told_until_another_runs(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    thaw, spare_may_open = threading.Event(), threading.Event()
    batches: list[int] = []

    def serve(count: int) -> None:
        batches.append(count)
        if len(batches) == 3:
            thaw.wait()

    def opener(bundle: Bundle) -> Engine:
        def spare() -> Engine:
            spare_may_open.wait()
            return TimedEngine(bundle.size, lambda _count: None)

        return FailoverEngine([lambda: TimedEngine(bundle.size, serve), spare], Limits(answer_s=0.3))

    camera = Camera("top", 50, 1_000_000)
    settings = config(
        bundle_path, f"replay:{drawn}", endpoint, line={"takt_ms": 200}, publish={"verdicts": endpoint}
    )  # fmt: skip
    with build_line(settings, sources=[camera], opener=opener) as line:
        line.start()
        until(lambda: not line.status()["ready"])
        (why,) = line.status()["why_not"]
        assert "hangs" in why
        assert "reopened" in why
        assert not line.status()["engine"]["up"]
        spare_may_open.set()
        until(lambda: line.status()["ready"])
        inspected = line.status()["cameras"]["top"]["verdicts"].get("ok", 0)
        until(lambda: line.status()["cameras"]["top"]["verdicts"].get("ok", 0) > inspected + 10)
        line.drain()
        assert line.wait(30)
        counts = line.status()["cameras"]["top"]
        # Not one frame is without an answer.
        assert sum(counts["verdicts"].values()) == counts["frames"]
        thaw.set()
    assert not line.hung


@pytest.mark.usefixtures("no_thread_left")
def test_an_engine_slower_than_it_was_chosen_for_is_told_and_leaves_the_line_ready(
    drawn: Path, bundle_path: Path, endpoint: str
) -> None:
    measured = Candidate(engine="timed", device="cpu", precision="f32", images_per_s=1e6)
    choice = Choice.of([measured], "latency", 1, 1.0)

    def opener(bundle: Bundle) -> Engine:
        def chosen() -> Engine:
            engine = TimedEngine(bundle.size, lambda _count: None)
            engine.choice = choice
            return engine

        return FailoverEngine([chosen])

    settings = config(bundle_path, f"replay:{drawn}", endpoint, publish={"verdicts": endpoint})
    with build_line(settings, sources=[Camera("top", 50, 1_000_000)], opener=opener) as line:
        assert line.status()["engine"]["choice"] == choice.to_json() | {"trouble": None}
        line.start()
        until(lambda: line.status()["engine"]["choice"]["trouble"])
        status = line.status()
        assert "timed cpu f32 runs at" in status["engine"]["choice"]["trouble"]
        assert status["ready"]
        line.drain()
        assert line.wait(30)
