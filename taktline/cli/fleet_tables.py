"""Tables of many lines that fill as answers come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.text import Text

from taktline.cli.drawing import Drawing
from taktline.cli.table import Cell, Column, ResultTable

if TYPE_CHECKING:
    from pipeline.fleet.fleet import Reply
    from pipeline.fleet.rolling import LineState

_STYLES = {
    "new": "green", "watched": "cyan", "switching": "cyan", "brought back": "yellow", "left alone": "yellow",
    "unknown": "bold red",
}  # fmt: skip


class FillingTable:
    """A row for each line, filled when its answer comes. A context manager.

    If stderr is not a terminal, or the result is wanted as JSON, nothing is drawn meanwhile.

    Args:
        title: what the lines were told.
        names: the lines.
        quiet: whether nothing is drawn.
    """

    def __init__(self, title: str, names: Iterable[str], quiet: bool) -> None:
        self._title, self._replies = title, dict[str, "Reply | None"].fromkeys(names)
        self._drawing = Drawing(quiet)

    def __enter__(self) -> Self:
        self._drawing.start()
        self._drawing.draw(self.table())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drawing.stop()

    def came(self, reply: Reply) -> None:
        """Takes an answer."""
        self._replies[reply.line] = reply
        if self._drawing.due:
            self._drawing.draw(self.table())

    def table(self) -> ResultTable:
        """Returns the table as it is now."""
        answered = sum(reply is not None and reply.came == "done" for reply in self._replies.values())
        table = ResultTable(
            Column("line", left=True), Column("state", left=True), Column("bundle", left=True), "threshold", "ok", "ng",
            "uninspected", Column("", prose=True),
            title=f"{self._title}: {answered} of {len(self._replies)} lines",
        )  # fmt: skip
        for name, reply in self._replies.items():
            table.add_row(name, *(["..."] + [""] * 6 if reply is None else _cells(reply)))
        return table


class RollTable:
    """A row for each line of a roll-out.

    Args:
        title: what is rolled out.
        parts: how many parts must pass on each line.
        quiet: whether nothing is drawn meanwhile.
    """

    def __init__(self, title: str, parts: int, quiet: bool) -> None:
        self._title, self._parts = title, parts
        self._drawing = Drawing(quiet)
        self._states: Mapping[str, LineState] = {}

    @contextmanager
    def over(self, states: Mapping[str, LineState]) -> Iterator[None]:
        """Draws these states whenever `draw` is called within the block."""
        self._states = states
        with self._drawing.shown():
            yield

    def draw(self) -> None:
        """Draws the table, unless it was drawn just before."""
        if self._drawing.due:
            self._drawing.draw(self.table())

    def table(self) -> ResultTable:
        """Returns the table as it is now."""
        done = sum(state.state == "new" for state in self._states.values())
        table = ResultTable(
            Column("line", left=True), Column("state", left=True), Column("bundle", left=True), "parts",
            Column("", prose=True),
            title=f"{self._title}: on {done} of {len(self._states)} lines",
        )  # fmt: skip
        for name, found in self._states.items():
            seen = found.passed or found.state == "watched"
            parts = f"{min(found.passed, self._parts)} of {self._parts}" if seen else ""
            table.add_row(name, Text(found.state, _STYLES.get(found.state, "")), found.bundle, parts, found.why)
        return table


def reply_values(reply: Reply) -> dict[str, Any]:
    """Returns an answer as plain values."""
    return {"answer": reply.came, "why": reply.why or None, "status": reply.status or None}


def _cells(reply: Reply) -> list[Cell]:
    from pipeline.fleet.evidence import Tally
    from pipeline.publish.troubles import line_troubles

    if reply.came != "done":
        return [Text(reply.came, "bold red"), *[""] * 5, reply.why]
    status = reply.status
    state = ("ready", "green") if status["ready"] else ("not ready", "red") if status["live"] else ("down", "bold red")
    counts = Tally.of(status)
    return [
        Text(*state), status["bundle"], f"{status['threshold']:.2f}", f"{counts.ok:,}", f"{counts.ng:,}",
        f"{counts.uninspected:,}", "; ".join(line_troubles(status)),
    ]  # fmt: skip
