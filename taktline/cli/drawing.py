"""A table on stderr that is drawn anew while it fills."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.live import Live

from taktline.cli.console import stderr

_REDRAW_S = 0.1


class Drawing:
    """Draws a table in place, at most ten times a second, and removes it at the end.

    Args:
        quiet: whether nothing is drawn; nor is it if stderr is not a terminal.
    """

    def __init__(self, quiet: bool = False) -> None:
        console = stderr()
        self._live = None if quiet or not console.is_terminal else Live(
            console=console, auto_refresh=False, transient=True
        )  # fmt: skip
        self._drawn = 0.0

    @property
    def seen(self) -> bool:
        """Whether anything is drawn at all."""
        return self._live is not None

    @property
    def due(self) -> bool:
        """Whether the table should be drawn again."""
        return self._live is not None and time.monotonic() - self._drawn >= _REDRAW_S

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows what is drawn within the block."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def start(self) -> None:
        """Begins."""
        if self._live is not None:
            self._live.start()

    def stop(self) -> None:
        """Ends, and removes the table."""
        if self._live is not None:
            self._live.stop()

    def draw(self, table: RenderableType) -> None:
        """Draws the table."""
        if self._live is not None:
            self._drawn = time.monotonic()
            self._live.update(table, refresh=True)
