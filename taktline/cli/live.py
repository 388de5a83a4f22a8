"""The live view of a replay."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from taktline.cli.table import Column, ResultTable
from taktline.cli.verdict_text import STYLES

if TYPE_CHECKING:
    from pipeline.flow.decided import Decided
    from pipeline.line.line import Line
    from pipeline.protocol.verdict import Verdict
    from taktline.cli.summary import RunSummary

_ROWS = 12
_REDRAW_S = 0.1


class LiveView:
    """A table of the latest verdicts, with the counts so far. A context manager.

    If the output is not a terminal, it draws nothing; the summary at the end has all figures.
    """

    def __init__(self, console: Console, line: Line) -> None:
        self._title = f"{line.model.engine.name} {line.model.engine.precision}   {line.publisher.address}"
        self._rows: deque[tuple[Verdict, str | None]] = deque(maxlen=_ROWS)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._drawn = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, decided: Decided, summary: RunSummary) -> None:
        """Adds a verdict, and redraws if enough time has passed."""
        if self._live is None:
            return
        self._rows.append((decided.verdict, decided.frame.label))
        if time.monotonic() - self._drawn > _REDRAW_S:
            self._drawn = time.monotonic()
            self._live.update(self._table(summary), refresh=True)

    def _table(self, summary: RunSummary) -> RenderableType:
        table = live_table(self._rows, self._title)
        counts = "   ".join(f"{name} {summary.outcomes[name]}" for name in STYLES)
        return Group(table, Text(f"{counts}   median latency {summary.latency_ms(0.5):.1f} ms"))


def live_table(rows: deque[tuple[Verdict, str | None]], title: str) -> ResultTable:
    """Shows verdicts with their parts' labels."""
    table = ResultTable(
        Column("#"),
        Column("verdict", left=True),
        Column("score / threshold"),
        Column("latency"),
        Column("part", prose=True),
        Column("label", prose=True),
        title=title,
    )
    for verdict, label in rows:
        table.add_row(
            str(verdict.sequence),
            Text(verdict.reason or verdict.verdict, STYLES[verdict.verdict]),
            "" if verdict.score is None else f"{verdict.score:.2f} / {verdict.threshold:.2f}",
            f"{verdict.latency.total / 1e6:.1f} ms",
            verdict.part or "",
            label or "",
        )
    return table
