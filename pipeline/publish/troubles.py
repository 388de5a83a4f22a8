"""What is wrong with a line, in sentences that people read: the same in the terminal and on the dashboard."""

from __future__ import annotations

from typing import Any

from pipeline.publish.metrics import Status


def line_troubles(status: Status) -> list[str]:
    """Returns a sentence for each reason why a line is not ready, and for an engine that runs too slowly."""
    slow = (status["engine"].get("choice") or {}).get("trouble")
    return [*status["why_not"], *([slow] if slow else [])]


def journal_troubles(journal: dict[str, Any] | None) -> list[str]:
    """Returns a sentence for each thing that is wrong with a line's journal."""
    if journal is None:
        return []
    return [trouble for trouble in (journal["trouble"], journal["retention"]["trouble"]) if trouble]


def unjournaled(journal: dict[str, Any] | None) -> str | None:
    """Returns a sentence if verdicts were published before the journal had them, otherwise None."""
    if journal is None or not (journal["unjournaled"] or journal["trouble"] is not None):
        return None
    return (
        f"{journal['unjournaled']} verdicts were published before they could be journaled: {journal['waiting']} "
        f"are waiting for the disk, {journal['lost']} are lost to the journal"
    )
