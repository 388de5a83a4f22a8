"""Which verdicts of a journal are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.protocol.label import Said
from pipeline.protocol.verdict import Outcome, Reason

_Condition = tuple[str, list[Any]]
_LABEL_OF = "l.camera = f.camera AND l.sequence = f.sequence AND l.current AND l.label IS NOT NULL"
_NOT_LABELLED = f"""NOT EXISTS (SELECT 1 FROM people.labels l WHERE {_LABEL_OF}
AND l.epoch = (SELECT id FROM epochs WHERE number = f.epoch))"""
# Labels are few: where some are wanted, they lead to their verdicts.
_FROM_LABELS = """people.labels l CROSS JOIN epochs e ON e.id = l.epoch CROSS JOIN facts f ON
f.captured_at = l.captured_at AND f.camera = l.camera AND f.epoch = e.number AND f.sequence = l.sequence"""
# The highest character, which no part's id ends with.
_LAST = "\U0010ffff"


@dataclass(frozen=True)
class Selection:
    """Which verdicts to select. An empty tuple or None means all.

    Attributes:
        cameras: of these cameras.
        since: captured at this time or later, nanoseconds since 1970 (UTC).
        until: captured before this time.
        verdicts: only these.
        reasons: uninspected for one of these reasons.
        part: of the part with this id, or, with a `*` at its end, of all whose ids begin like it.
        lowest: with at least this score, in sigma.
        highest: with at most this score.
        labels: with one of these labels.
        unlabelled: only those without a label.
    """

    cameras: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    verdicts: tuple[Outcome, ...] = ()
    reasons: tuple[Reason, ...] = ()
    part: str | None = None
    lowest: float | None = None
    highest: float | None = None
    labels: tuple[Said, ...] = ()
    unlabelled: bool = False

    @property
    def needs_facts(self) -> bool:
        """Whether only a journal with facts can tell."""
        return self != Selection(self.cameras, self.since, self.until, self.verdicts)

    @property
    def where(self) -> _Condition:
        """An SQL condition on the table `verdicts` or `facts` and its values, as far as both have the columns."""
        conditions: list[str] = ["1"]
        values: list[Any] = []
        for column, wanted in (("camera", self.cameras), ("verdict", self.verdicts)):
            _add_choice(column, wanted, conditions, values)
        for condition, limit in (("captured_at >= ?", self.since), ("captured_at < ?", self.until)):
            if limit is not None:
                conditions.append(condition)
                values.append(limit)
        return " AND ".join(conditions), values

    @property
    def from_facts(self) -> _Condition:
        """What follows `FROM` in a search of the facts, which are called `f`, and its values."""
        conditions: list[str] = []
        values: list[Any] = []
        for column, wanted in (
            ("f.camera", self.cameras), ("f.verdict", self.verdicts), ("f.reason", self.reasons),
            ("l.label", self.labels),
        ):  # fmt: skip
            _add_choice(column, wanted, conditions, values)
        for condition, limit in (
            ("f.captured_at >= ?", self.since), ("f.captured_at < ?", self.until), ("f.score >= ?", self.lowest),
            ("f.score <= ?", self.highest), *self._part_limits(),
        ):  # fmt: skip
            if limit is not None:
                conditions.append(condition)
                values.append(limit)
        if self.unlabelled:
            conditions.append(_NOT_LABELLED)
        if self.labels:
            conditions.append("l.current")
        table = _FROM_LABELS if self.labels else "facts f"
        return f"{table} WHERE {' AND '.join(conditions or ['1'])}", values

    def _part_limits(self) -> tuple[tuple[str, str | None], ...]:
        if self.part is None or not self.part.endswith("*"):
            return (("f.part = ?", self.part),)
        begins = self.part[:-1]
        return ("f.part >= ?", begins), ("f.part < ?", begins + _LAST)


def _add_choice(column: str, wanted: tuple[str, ...], conditions: list[str], values: list[Any]) -> None:
    if wanted:
        conditions.append(f"{column} IN ({', '.join('?' * len(wanted))})")
        values += wanted
