"""Where a line is to be found: what the settings say, and for the rest what the line says itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.lines_file import KnownLine

_EVERYWHERE = frozenset({"0.0.0.0", "[::]", "*"})


@dataclass(frozen=True)
class Places:
    """Where a line publishes, answers re-reads and keeps its journal.

    Attributes:
        verdicts: where to subscribe; None as long as neither the settings nor the line say it.
        replay: where to ask for what was missed, or None.
        journal: the journal's file, if this machine can read it, or None.
    """

    verdicts: str | None
    replay: str | None
    journal: Path | None


def find_places(line: KnownLine, status: dict[str, Any] | None) -> Places:
    """Returns where a line is.

    Args:
        line: the settings, which come first.
        status: what the line last said of itself; None if it never did.
    """
    told: dict[str, str | None] = {} if status is None else status.get("places", {})
    control = line.control_address or ""
    journal = line.journal
    # A line on another machine tells paths that mean nothing here.
    if journal is None and told.get("journal") and control.startswith("ipc://"):
        found = Path(str(told["journal"]))
        journal = found if found.is_file() else None
    return Places(
        line.verdicts or _from_here(told.get("verdicts"), control),
        line.replay or _from_here(told.get("replay"), control),
        journal,
    )


def _from_here(address: str | None, control: str) -> str | None:
    """Returns an address as it can be reached from here, where a line told the one that it bound."""
    if address is None or not address.startswith("tcp://"):
        return address
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if host not in _EVERYWHERE:
        return address
    asked = control.removeprefix("tcp://").rpartition(":")[0] if control.startswith("tcp://") else "127.0.0.1"
    return f"tcp://{asked}:{port}"
