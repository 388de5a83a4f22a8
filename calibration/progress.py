"""How long-running steps report progress."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Receives progress; the command line draws it."""

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """Reports that `done` of `total` steps of `task` are done."""


def silent(task: str, done: int, total: int, note: str = "") -> None:
    """Ignores progress."""
