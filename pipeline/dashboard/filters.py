"""What a page of history is about, as it stands in its address: so that it can be kept, sent and gone back to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, get_args
from urllib.parse import urlencode

from engines.errors import ConfigError
from pipeline.journal.search import Key
from pipeline.journal.selection import Selection
from pipeline.protocol.label import LABELS, Said
from pipeline.protocol.verdict import Outcome

UNLABELLED = "none"
_NAMES = ("line", "camera", "verdict", "from", "to", "part", "low", "high", "label", "view")
_MOST_TEXT = 200


@dataclass(frozen=True)
class Filters:
    """The filters of a page of history.

    Attributes:
        texts: as they stand in the address and in the form.
        selection: which verdicts they select.
        wrong: a sentence about what cannot be used in them, or None.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    selection: Selection = field(default_factory=Selection)
    wrong: str | None = None

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Filters:
        """Reads them from an address."""
        texts = {name: query[name].strip()[:_MOST_TEXT] for name in _NAMES if query.get(name, "").strip()}
        try:
            return cls(texts, _selection(texts))
        except ConfigError as error:
            return cls(texts, wrong=str(error))

    def address(self, page: str, **more: Any) -> str:
        """Returns the address of a page with these filters."""
        query = urlencode({**self.texts, **{name: value for name, value in more.items() if value is not None}})
        return f"{page}?{query}" if query else page


def write_key(key: Key) -> str:
    """Returns a key as it stands in an address."""
    return f"{key.captured_at}~{key.epoch}~{key.sequence}~{key.camera}"


def read_key(text: str | None) -> Key | None:
    """Reads a key from an address; None if it is not one."""
    parts = (text or "").split("~", 3)
    if len(parts) != 4 or not (parts[0].isdecimal() and parts[2].isdecimal()) or max(map(len, parts)) > 64:
        return None
    captured_at, sequence = int(parts[0]), int(parts[2])
    if captured_at >= 2**63 or sequence >= 2**63:
        return None
    return Key(captured_at, parts[3], parts[1], sequence)


def _selection(texts: Mapping[str, str]) -> Selection:
    label = texts.get("label")
    outcomes = {name: name for name in get_args(Outcome)}
    verdict = texts.get("verdict")
    labels: dict[str, Said] = {name: name for name in LABELS}
    if verdict is not None and verdict not in outcomes:
        raise ConfigError(f"There is no verdict '{verdict}'.")
    if label is not None and label not in {*labels, UNLABELLED}:
        raise ConfigError(f"There is no label '{label}'.")
    return Selection(
        cameras=(texts["camera"],) if "camera" in texts else (),
        since=_moment(texts.get("from")),
        until=_moment(texts.get("to")),
        verdicts=() if verdict is None else (outcomes[verdict],),
        part=texts.get("part"),
        lowest=_number(texts.get("low")),
        highest=_number(texts.get("high")),
        labels=() if label in {None, UNLABELLED} else (labels[str(label)],),
        unlabelled=label == UNLABELLED,
    )


def _moment(text: str | None) -> int | None:
    """Returns a point in time in nanoseconds; the text is in this machine's local time."""
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1e9)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(f"'{text}' is not a date or time; give one like 2025-03-01T06:00.") from error


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise ConfigError(f"'{text}' is not a number of sigma.") from error
    if not -1e6 < value < 1e6:
        raise ConfigError(f"'{text}' is not a number of sigma.")
    return value
