"""Errors of foreign libraries become ours where they enter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engines.errors import EngineError, TaktlineError


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns whatever a foreign library raises in the block into an `EngineError`.

    Args:
        what: what failed, the beginning of the sentence.

    Raises:
        EngineError: with the foreign error as its cause.
        TaktlineError: one of ours passes as it is.
    """
    try:
        yield
    except TaktlineError:
        raise
    except Exception as error:
        raise EngineError(f"{what}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Returns what an error of a foreign library says, in one line: the last that is not empty."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
