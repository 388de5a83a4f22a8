"""How long steps tell how far they are."""

from __future__ import annotations

from typing import Protocol


class Reporter(Protocol):
    """Takes note of progress; the command line draws it."""

    def __call__(self, task: str, done: int, total: int, note: str = "") -> None:
        """Says that `done` of `total` steps of `task` are done."""


def silent(task: str, done: int, total: int, note: str = "") -> None:
    """A reporter that says nothing."""
