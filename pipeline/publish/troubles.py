"""What is wrong with a line, in sentences that people read: the same in the terminal and on the dashboard."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pipeline.publish.metrics import Status


def line_troubles(status: Status) -> list[str]:
    """Returns a sentence for each reason why a line is not ready, for an engine that runs too slowly, and for drift."""
    slow = (status["engine"].get("choice") or {}).get("trouble")
    return [*status["why_not"], *([slow] if slow else []), *_drift_troubles(status.get("drift") or {})]


def _drift_troubles(drift: Status) -> list[str]:
    """Returns a sentence for each quantity in which good parts have moved away from those of calibration."""
    return [
        f"camera {name}: {moved['words']} since frame {moved['since_sequence']} "
        f"({datetime.fromtimestamp(moved['since_at'] / 1e9):%Y-%m-%d %H:%M}); {moved['remedy']}"
        for name, camera in drift.get("cameras", {}).items()
        for moved in camera["moved"]
    ]


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
