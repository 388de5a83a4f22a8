"""What a run looks like in a terminal."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engines.engine import EXACT
from pipeline.flow.decided import Decided
from pipeline.line.line import Line
from pipeline.protocol.verdict import Verdict
from pipeline.publish.metrics import Status
from taktline.cli.summary import RunSummary

STYLES = {"ok": "green", "ng": "bold red", "uninspected": "yellow"}
_ROWS = 12
_REDRAW_S = 0.1


def verdict_text(verdict: Verdict) -> Text:
    """Returns one verdict as one line of text."""
    text = Text(datetime.fromtimestamp(verdict.captured_at / 1e9).strftime("%H:%M:%S.%f")[:-3])
    text.append(f"  {verdict.camera:<10} {verdict.sequence:>7}  ")
    text.append(f"{verdict.verdict:<11}", STYLES[verdict.verdict])
    if verdict.score is None:
        text.append(f"  {verdict.reason:<16}")
    else:
        text.append(f"  {verdict.score:>6.2f} / {verdict.threshold:.2f} ")
    text.append(f"  {verdict.latency.total / 1e6:>7.1f} ms  {verdict.part or ''}")
    return text


class LiveView:
    """The live table of a replay: the last verdicts, and the counts so far. A context manager.

    Where the output is no terminal nothing is drawn; the summary at the end says it all.
    """

    def __init__(self, console: Console, line: Line) -> None:
        self._engine = f"{line.model.engine.name} {line.model.engine.precision}"
        self._address = line.publisher.address
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
        """Takes note of a verdict and redraws now and then."""
        if self._live is None:
            return
        self._rows.append((decided.verdict, decided.frame.label))
        if time.monotonic() - self._drawn > _REDRAW_S:
            self._drawn = time.monotonic()
            self._live.update(self._table(summary), refresh=True)

    def _table(self, summary: RunSummary) -> RenderableType:
        table = Table(title=f"{self._engine}   {self._address}", expand=False)
        for name, justify in (
            ("#", "right"),
            ("verdict", "left"),
            ("score / threshold", "right"),
            ("latency", "right"),
            ("part", "left"),
            ("is", "left"),
        ):
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        for verdict, label in self._rows:
            score = "" if verdict.score is None else f"{verdict.score:.2f} / {verdict.threshold:.2f}"
            table.add_row(
                str(verdict.sequence),
                Text(verdict.reason or verdict.verdict, STYLES[verdict.verdict]),
                score,
                f"{verdict.latency.total / 1e6:.1f} ms",
                verdict.part or "",
                label or "",
            )
        counts = "   ".join(f"{name} {summary.outcomes[name]}" for name in STYLES)
        return Group(table, Text(f"{counts}   median latency {summary.latency_ms(0.5):.1f} ms"))


def status_tables(status: Status) -> list[RenderableType]:
    """Returns how a line is as a table, with a sentence for everything that is missing."""
    engine = status["engine"]
    state = "[green]ready[/]" if status["ready"] else "[red]not ready[/]" if status["live"] else "[bold red]down[/]"
    table = Table(title=f"line {status['line']}: {state}   {engine['name']} {engine['precision']}")
    for name in ("camera", "frames", "last frame", *STYLES, "dropped", "late", "corrupt", "engine error"):
        if name != "uninspected":
            table.add_column(name, justify="left" if name == "camera" else "right")
    for name, camera in status["cameras"].items():
        last = camera["last_frame_s"]
        counts = [camera["verdicts"].get(key, 0) for key in ("ok", "ng", "dropped", "late", "corrupt", "engine_error")]
        table.add_row(name, str(camera["frames"]), "-" if last is None else f"{last:.1f} s ago", *map(str, counts))
    return [table, *(Text(sentence, "yellow") for sentence in status["why_not"]), *journal_text(status.get("journal"))]


def journal_text(journal: dict[str, Any] | None) -> list[Text]:
    """Returns how a line's journal is, in red where verdicts went out that were not in it."""
    if journal is None:
        return []
    pictures = journal["pictures"]
    text = f"journal: {journal['journaled']} verdicts, {pictures['kept']} pictures, {pictures['dropped']} not kept"
    trouble = journal["retention"]["trouble"]
    retention = [] if trouble is None else [Text(trouble, "bold red")]
    if not journal["unjournaled"] and journal["trouble"] is None:
        return [Text(text), *retention]
    text += f"; {journal['unjournaled']} verdicts went out before they could be journaled, {journal['lost']} of them "
    text += f"never will be, {journal['waiting']} wait"
    trouble = journal["trouble"]
    return [Text(text, "red"), *([] if trouble is None else [Text(trouble, "bold red")]), *retention]


def _twice(summary: RunSummary) -> str:
    """The share of frames that were scored again in float32; a run all in float32 has none."""
    if len(summary.precisions) < 2:
        return "-"
    return f"{summary.precisions[EXACT] / summary.precisions.total():.1%}"


def summary_tables(summary: RunSummary) -> list[RenderableType]:
    """Returns the figures of a run as tables."""
    values = summary.to_json()
    run = Table(title="run")
    for name in ("frames", "ok", "ng", "uninspected", "twice", "latency p50", "p90", "p99"):
        run.add_column(name, justify="right")
    latency = values["latency_ms"]
    reasons = ", ".join(f"{name} {count}" for name, count in values["reasons"].items())
    counts = values["verdicts"]
    run.add_row(
        str(values["frames"]),
        str(counts["ok"]),
        str(counts["ng"]),
        f"{counts['uninspected']} ({reasons})" if reasons else "0",
        _twice(summary),
        *(f"{latency[name]:.1f} ms" for name in ("p50", "p90", "p99")),
    )
    tables: list[RenderableType] = [run]
    labels = values.get("against_labels")
    if labels is not None:
        confusion = Table(title="confusion matrix")
        for name in ("", "verdict ok", "verdict ng"):
            confusion.add_column(name, justify="right")
        counts = labels["confusion"]
        confusion.add_row("good part", str(counts["tn"]), str(counts["fp"]))
        confusion.add_row("defective part", str(counts["fn"]), str(counts["tp"]))
        quality = Table(title="against the labels")
        for name in ("precision", "recall", "f1", "auroc"):
            quality.add_column(name.upper() if name == "auroc" else name, justify="right")
        quality.add_row(
            *("-" if labels[name] is None else f"{labels[name]:.3f}" for name in ("precision", "recall", "f1", "auroc"))
        )
        tables += [confusion, quality]
    return tables
