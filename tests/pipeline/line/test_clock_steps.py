"""A wall clock that is set, by NTP or by hand, changes no latency, no takt and no order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle
from engines.engine import Engine
from pipeline.flow.frame import Frame
from pipeline.journal.reader import JournalReader
from pipeline.line.build import build_line
from pipeline.protocol.entry import Entry
from pipeline.sources.source import Source
from tests.pipeline.line.test_line import config
from tests.pipeline.line.test_takt import TimedEngine
from tests.pipeline.parts import held, verify

HOUR_NS = 3_600_000_000_000
STEPS = {20: HOUR_NS, 40: -2 * HOUR_NS, 60: 365 * 24 * HOUR_NS, 80: -400 * 24 * HOUR_NS}


@pytest.mark.usefixtures("no_thread_left")
def test_a_stepped_wall_clock_changes_nothing_but_the_date(
    bundle_path: Path, drawn: Path, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = 0
    wall_ns, wall = time.time_ns, time.time

    class Stepping(Source):
        """A camera in whose frames the clock is set, while others are in the line."""

        def frames(self, stop: threading.Event) -> Iterator[Frame]:
            nonlocal offset
            for number in range(100):
                if stop.wait(0.01):
                    return
                offset += STEPS.get(number, 0)
                yield Frame(self.camera, number, np.zeros((64, 64, 3), np.uint8), time.time_ns(), time.monotonic_ns())

    monkeypatch.setattr(time, "time_ns", lambda: wall_ns() + offset)
    monkeypatch.setattr(time, "time", lambda: wall() + offset / 1e9)
    path = tmp_path / "line.journal"
    settings = config(
        bundle_path, f"replay:{drawn}", endpoint, line={"takt_ms": 60_000}, publish={"verdicts": endpoint},
        journal={"path": path, "keep_images": "all"},
    )  # fmt: skip

    def opener(bundle: Bundle) -> Engine:
        return TimedEngine(bundle.size, lambda _count: time.sleep(0.005))

    with build_line(settings, sources=[Stepping("top")], opener=opener, watched=True) as line:
        line.start()
        verdicts = [decided.verdict for decided in line.decided()]
    assert [verdict.sequence for verdict in verdicts] == list(range(100))
    # Not one of them late, dropped or in error.
    assert {verdict.reason for verdict in verdicts} == {None}
    for verdict in verdicts:
        parts = verdict.latency
        assert min(parts.queue, parts.infer, parts.decide, parts.publish) >= 0
        assert parts.total < 60e9
    # The date alone follows the clock.
    dates = np.diff([verdict.captured_at for verdict in verdicts])
    assert {number for number, step in enumerate(dates, 1) if abs(step) > HOUR_NS / 2} == set(STEPS)
    with JournalReader(path) as reader:
        entries = reader.read("top", verdicts[0].epoch, 0, 99, 100)
    assert [entry.sequence for entry in entries if isinstance(entry, Entry)] == list(range(100))
    # A listing goes by the date.
    assert [found.verdict for found in held(path)] == sorted(verdicts, key=lambda verdict: verdict.captured_at)
    assert verify(path).good
