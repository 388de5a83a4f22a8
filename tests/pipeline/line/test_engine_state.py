"""An engine that hangs makes the line not ready, with the reason; then the line goes on with the next one."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engines.bundle import Bundle
from engines.engine import Engine
from engines.failover import FailoverEngine, Limits
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
        assert "opened again" in why
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
