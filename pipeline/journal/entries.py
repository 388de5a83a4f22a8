"""Turns decided frames into journal entries, and decides how long the disk may take for them."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence

from pipeline.flow.decided import Decided
from pipeline.protocol.entry import Entry, Facts
from pipeline.protocol.topics import safe_text
from pipeline.protocol.verdict import pack

_MOST_WAIT_S, _LEAST_WAIT_S, _TAKT_SHARE = 1.0, 0.05, 0.1


def new_epoch() -> str:
    """Returns a new, unique epoch."""
    return uuid.uuid4().hex[:16]


def pack_entries(batch: Sequence[Decided], epoch: str, now: int, *, journaled: bool) -> list[Entry]:
    """Returns the entries of frames, and sets the epoch and the time since the decision in each frame's verdict.

    Args:
        batch: the frames with their verdicts.
        epoch: the epoch they are published in.
        now: monotonic nanoseconds.
        journaled: whether they are written to the file before they are published.
    """
    entries = []
    for decided in batch:
        latency = dataclasses.replace(decided.verdict.latency, publish=now - decided.decided)
        verdict = decided.verdict = dataclasses.replace(
            decided.verdict, latency=latency, epoch=epoch, journaled=journaled
        )
        _, body, *heatmap = pack(verdict, decided.heatmap)
        part = None if verdict.part is None else safe_text(verdict.part)
        facts = Facts(verdict.reason, verdict.score, part, latency.total)
        entries.append(
            Entry(verdict.epoch, verdict.camera, verdict.sequence, verdict.captured_at, verdict.verdict, body,
                  heatmap[0] if heatmap else None, facts)
        )  # fmt: skip
    return entries


def patience(batch: Sequence[Decided], now: int) -> float:
    """Returns how many seconds the disk may take for a batch.

    That is the time until the first answer is due, but at least a tenth of the takt, at least 50 ms, and at most a
    second. Otherwise a late frame would be published unjournaled just because the disk is busy.
    """
    waits = [_MOST_WAIT_S]
    for frame in (decided.frame for decided in batch):
        if frame.deadline is not None:
            share = max(_LEAST_WAIT_S, _TAKT_SHARE * (frame.deadline - frame.captured) / 1e9)
            waits.append(max(share, (frame.deadline - now) / 1e9))
    return min(waits)
