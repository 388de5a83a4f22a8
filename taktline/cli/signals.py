"""Handles Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_signals(action: Callable[[], None]) -> Iterator[None]:
    """Calls an action on the first SIGINT or SIGTERM; a second one has its usual effect."""
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: types.FrameType | None) -> None:
        del number, frame
        restore()
        action()

    def restore() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    for kind in (signal.SIGINT, signal.SIGTERM):
        before[kind] = signal.signal(kind, handle)
    try:
        yield
    finally:
        restore()


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM end the block as Ctrl-C does, so that it frees what it holds: files half-written, other processes.

    Raises:
        SystemExit: at a SIGTERM, with the code that a shell gives it.
    """

    def end(number: int, frame: types.FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
