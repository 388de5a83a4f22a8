"""What following a folder costs: memory for what lies in it, and a bounded look at it, however many pictures passed."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest

from pipeline.sources import folder_scan
from pipeline.sources.folder_scan import FolderScan, state_of

pytestmark = pytest.mark.serial


def test_memory_is_for_what_lies_in_the_folder_and_not_for_what_ever_did(tmp_path: Path) -> None:
    """A day's pictures come and are cleared away; what the first of them took is all that the last ones take."""
    scan, sizes = FolderScan(tmp_path), []
    # What else this process does meanwhile takes memory too.
    own = [tracemalloc.Filter(True, folder_scan.__file__)]
    tracemalloc.start()
    try:
        for hour in range(8):
            names = {f"part-{hour:02}-{number:05}.png" for number in range(500)}
            for name in names:
                (tmp_path / name).touch()
            found: set[str] = set()
            deadline = time.monotonic() + 30
            while found != names:
                assert time.monotonic() < deadline
                found |= scan.look()
            for name in found:
                scan.remember(name, state_of((tmp_path / name).stat()))
            del found
            sizes.append(sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(own).traces))
            for name in names:
                (tmp_path / name).unlink()
    finally:
        tracemalloc.stop()
    # All of them would be four times as much.
    print(sizes)
    assert max(sizes[2:]) < 2 * sizes[1]


def test_a_look_at_a_large_folder_is_a_short_one(tmp_path: Path) -> None:
    """To look at each of 10,000 files on each call would take a whole core."""
    for number in range(10_000):
        (tmp_path / f"{number:05}.png").touch()
    scan = FolderScan(tmp_path)
    for name in scan.look():
        scan.remember(name, state_of((tmp_path / name).stat()))
    started = time.thread_time()
    for path in tmp_path.iterdir():
        path.stat()
    once = time.thread_time() - started
    started = time.thread_time()
    for _ in range(20):
        assert scan.look() == set()
    assert time.thread_time() - started < 10 * once
