"""Formats verdicts for the terminal."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from pipeline.protocol.verdict import Verdict

STYLES = {"ok": "green", "ng": "bold red", "uninspected": "yellow"}


def verdict_text(verdict: Verdict) -> Text:
    """Returns a verdict as one line of text."""
    text = Text(datetime.fromtimestamp(verdict.captured_at / 1e9).strftime("%H:%M:%S.%f")[:-3])
    text.append(f"  {verdict.camera:<10} {verdict.sequence:>7}  ")
    text.append(f"{verdict.verdict:<11}", STYLES[verdict.verdict])
    if verdict.score is None:
        text.append(f"  {verdict.reason:<16}")
    else:
        text.append(f"  {verdict.score:>6.2f} / {verdict.threshold:.2f} ")
    text.append(f"  {verdict.latency.total / 1e6:>7.1f} ms  {verdict.part or ''}")
    if verdict.label is not None:
        text.append(f"  {verdict.label.label} ({verdict.label.by})", "cyan")
    return text
