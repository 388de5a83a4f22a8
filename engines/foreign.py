"""Turns errors of foreign libraries into ours where they enter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engines.errors import EngineError, TaktlineError


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns any exception that a foreign library raises in the block into an `EngineError`.

    Args:
        what: what failed: the beginning of the sentence.

    Raises:
        EngineError: the foreign library failed; its error is the cause.
        TaktlineError: our own errors pass unchanged.
    """
    try:
        yield
    except TaktlineError:
        raise
    except Exception as error:
        raise EngineError(f"{what}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Returns the last non-empty line of a foreign library's error message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
