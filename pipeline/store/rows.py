"""A verdict as a row of the store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.protocol.label import Label
from pipeline.protocol.verdict import Latency, Region, Verdict

DAY_NS = 86_400 * 10**9

# What a row has, in order, and each column's type in PostgreSQL. `captured_at` is made of `captured_ns` there.
COLUMNS = {
    "line": "text", "camera": "text", "epoch": "text", "sequence": "bigint", "captured_ns": "bigint",
    "verdict": "text", "reason": "text", "score": "float8", "threshold": "float8", "part": "text", "regions": "jsonb",
    "queue_ns": "bigint", "infer_ns": "bigint", "decide_ns": "bigint", "publish_ns": "bigint", "latency_ns": "bigint",
    "engine": "text", "precision": "text", "exact": "boolean", "bundle": "text", "journaled": "boolean",
    "label": "text", "labelled_by": "text", "labelled_ns": "bigint", "label_note": "text",
}  # fmt: skip
_NO_LABEL = (None, None, None, None)


@dataclass(frozen=True)
class Batch:
    """Verdicts of one line, to be stored together with how far they bring its subscriber.

    Attributes:
        line: name of the line.
        verdicts: in order.
        position: the subscriber's position after the last of them, as plain values.
    """

    line: str
    verdicts: Sequence[Verdict]
    position: Any


@dataclass(frozen=True)
class Written:
    """What became of the verdicts that were given to a store.

    Attributes:
        stored: how many are new in it.
        known: how many it had already.
        expired: how many are older than it keeps.
        refused: how many its schema refused; they are in its table `refused`.
    """

    stored: int = 0
    known: int = 0
    expired: int = 0
    refused: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(
            self.stored + other.stored, self.known + other.known, self.expired + other.expired,
            self.refused + other.refused,
        )  # fmt: skip


def row_of(verdict: Verdict) -> tuple[Any, ...]:
    """Returns a verdict's values in the order of `COLUMNS`."""
    latency, label = verdict.latency, verdict.label
    return (
        verdict.line, verdict.camera, verdict.epoch, verdict.sequence, verdict.captured_at, verdict.verdict,
        verdict.reason, verdict.score, verdict.threshold, verdict.part, _regions(verdict.regions),
        latency.queue, latency.infer, latency.decide, latency.publish, latency.total, verdict.engine,
        verdict.precision, verdict.exact, verdict.bundle, verdict.journaled,
        *(_NO_LABEL if label is None else (label.label, label.by, label.at, label.note)),
    )  # fmt: skip


def verdict_of(row: Sequence[Any]) -> Verdict:
    """Returns the verdict of a row with the values in the order of `COLUMNS`."""
    values = dict(zip(COLUMNS, row, strict=True))
    # PostgreSQL reads JSON, SQLite gives its text.
    regions = json.loads(values["regions"]) if isinstance(values["regions"], str) else values["regions"]
    label = None
    if values["label"] is not None:
        label = Label(values["label"], values["labelled_by"], values["labelled_ns"], values["label_note"])
    return Verdict(
        line=values["line"], camera=values["camera"], sequence=values["sequence"], verdict=values["verdict"],
        reason=values["reason"], score=values["score"], threshold=values["threshold"],
        regions=tuple(Region(**one) for one in regions), part=values["part"], captured_at=values["captured_ns"],
        latency=Latency(values["queue_ns"], values["infer_ns"], values["decide_ns"], values["publish_ns"]),
        engine=values["engine"], precision=values["precision"], exact=bool(values["exact"]), bundle=values["bundle"],
        epoch=values["epoch"], journaled=bool(values["journaled"]), label=label,
    )  # fmt: skip


def day_of(captured_ns: int) -> int:
    """Returns the day in UTC, counted from 1970-01-01."""
    return captured_ns // DAY_NS


def _regions(regions: Sequence[Region]) -> str:
    if not regions:
        return "[]"
    values = [{"x": one.x, "y": one.y, "w": one.w, "h": one.h, "peak": one.peak} for one in regions]
    return json.dumps(values, separators=(",", ":"))
