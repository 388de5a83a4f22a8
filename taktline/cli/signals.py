"""Handles Ctrl-C and SIGTERM."""

from __future__ import annotations

import signal
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
