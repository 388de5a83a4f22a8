"""Tables that fit the terminal: if one would be too wide, each row becomes a few lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Cell = str | Text
_PROSE = 24
_INDENT = 2
_GAP = "   "


@dataclass(frozen=True)
class Column:
    """A column of a `ResultTable`.

    Attributes:
        name: its heading; may be empty.
        left: whether cells are left-aligned, like text. Figures are right-aligned.
        prose: whether cells may be wrapped. All others stay whole.
    """

    name: str
    left: bool = False
    prose: bool = False


class ResultTable:
    """A table for rich that never truncates figures.

    It is printed as a table if the terminal is wide enough, and otherwise as lines: a row's first cell as a heading,
    and below it every other cell after the name of its column.

    Args:
        columns: the columns; a plain string is a column of figures, or of text if it comes first.
        title: printed above the table.
        caption: printed below the table.
    """

    def __init__(self, *columns: Column | str, title: Cell = "", caption: str = "") -> None:
        self.columns = [
            column if isinstance(column, Column) else Column(column, left=not index)
            for index, column in enumerate(columns)
        ]
        self.title = title
        self.caption = caption
        self.rows: list[list[Text]] = []

    def add_row(self, *cells: Cell) -> None:
        """Adds a row with one cell per column. Strings are plain text, not markup."""
        if len(cells) != len(self.columns):
            raise ValueError(f"the row has {len(cells)} cells, the table {len(self.columns)} columns")
        self.rows.append([cell if isinstance(cell, Text) else Text(cell) for cell in cells])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._width() <= options.max_width:
            yield self._table()
        else:
            yield from self._lines(options.max_width)

    def _width(self) -> int:
        widths = []
        for index, column in enumerate(self.columns):
            widest = max((row[index].cell_len for row in self.rows), default=0)
            widths.append(max(len(column.name), min(widest, _PROSE) if column.prose else widest))
        return sum(width + 3 for width in widths) + 1

    def _table(self) -> Table:
        table = Table(title=self.title or None, caption=self.caption or None)
        table.show_header = any(column.name for column in self.columns)
        for column in self.columns:
            justify = "left" if column.left or column.prose else "right"
            table.add_column(
                column.name, justify=justify, no_wrap=not column.prose, overflow="fold"  # type: ignore[arg-type]
            )  # fmt: skip
        for row in self.rows:
            table.add_row(*row)
        return table

    def _lines(self, width: int) -> Iterator[RenderableType]:
        if self.title:
            yield Text.assemble(self.title, style="italic")
        for row in self.rows:
            yield Text(f"{self.columns[0].name} ").append_text(row[0]) if self.columns[0].name else row[0]
            pairs = (
                Text(f"{column.name} " if column.name else "").append_text(cell)
                for column, cell in zip(self.columns[1:], row[1:], strict=True)
                if cell.plain
            )
            yield from _flow(pairs, width)
        if self.caption:
            yield Text(self.caption, style="dim")


def _flow(items: Iterable[Text], width: int) -> Iterator[Padding]:
    """Fills indented lines with items; an item is broken only if it is wider than a line."""
    line = Text()
    for item in items:
        if line and _INDENT + line.cell_len + len(_GAP) + item.cell_len > width:
            yield Padding.indent(line, _INDENT)
            line = Text()
        line = Text.assemble(line, _GAP, item) if line else item
    if line:
        yield Padding.indent(line, _INDENT)
