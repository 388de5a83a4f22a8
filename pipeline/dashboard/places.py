"""Where a line is to be found: what the settings say, and for the rest what the line says itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.dashboard.settings import WatchedLine


@dataclass(frozen=True)
class Places:
    """Where a line publishes, answers re-reads and keeps its journal.

    Attributes:
        verdicts: where to subscribe.
        replay: where to ask for what was missed, or None.
        journal: the journal's file, if this machine can read it, or None.
    """

    verdicts: str
    replay: str | None
    journal: Path | None


def find_places(line: WatchedLine, status: dict[str, Any] | None) -> Places | None:
    """Returns where a line is; None as long as neither the settings nor the line say where it publishes."""
    told: dict[str, str | None] = {} if status is None else status.get("places", {})
    verdicts = line.verdicts or told.get("verdicts")
    if verdicts is None:
        return None
    journal = line.journal
    if journal is None and told.get("journal") and line.control_address is not None:
        found = Path(str(told["journal"]))
        # A line on another machine tells a path that means nothing here.
        journal = found if line.control_address.startswith("ipc://") and found.is_file() else None
    return Places(verdicts, line.replay or told.get("replay"), journal)
