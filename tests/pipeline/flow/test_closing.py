"""Parts are closed in reverse order under one deadline, whatever fails or hangs on the way."""

from __future__ import annotations

import threading
import time

import pytest

from pipeline.flow.closing import ClosingStack


def fail() -> None:
    raise OSError("the disk is gone")


@pytest.mark.usefixtures("no_thread_left")
def test_every_part_is_closed_once_in_reverse_order_though_one_raises(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []
    with ClosingStack() as parts:
        parts.add("first", lambda: closed.append("first"))
        parts.add("broken", fail)
        parts.add("last", lambda: closed.append("last"))
    parts.close()
    assert closed == ["last", "first"]
    assert "broken failed while closing" in caplog.text
    assert "the disk is gone" in caplog.text


@pytest.mark.usefixtures("no_thread_left")
def test_what_hangs_is_left_behind_and_the_others_are_closed() -> None:
    closed: list[str] = []
    go = threading.Event()

    def late() -> None:
        raise TimeoutError("an order is still being carried out")

    parts = ClosingStack()
    parts.add("first", lambda: closed.append("first"))
    parts.add("late", late)
    parts.add("hanging", go.wait)
    parts.add("last", lambda: closed.append("last"))
    started = time.monotonic()
    assert parts.close_within(0.3) == ("hanging", "late")
    # No speed, but an end: it would wait for ever.
    assert time.monotonic() - started < 30
    assert closed == ["last", "first"]
    go.set()


def test_released_parts_are_somebody_else_s() -> None:
    closed: list[str] = []
    parts = ClosingStack()
    parts.add("given away", lambda: closed.append("given away"))
    parts.release()
    parts.close()
    assert closed == []
