"""From decided frames to the entries of a journal: what each says, and how long the disk may take over it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pipeline.flow.decided import Decided
from pipeline.protocol.entry import Entry
from pipeline.protocol.verdict import pack

_MOST_WAIT_S, _LEAST_WAIT_S, _TAKT_SHARE = 1.0, 0.05, 0.1


def pack_entries(batch: Sequence[Decided], epoch: str, now: int, *, journaled: bool) -> list[Entry]:
    """Returns frames' entries, and gives each frame's verdict its epoch and the time since it was decided.

    Args:
        batch: the frames with their verdicts.
        epoch: that they are published in.
        now: monotonic nanoseconds.
        journaled: whether the file has them before they are published.
    """
    entries = []
    for decided in batch:
        latency = dataclasses.replace(decided.verdict.latency, publish=now - decided.decided)
        verdict = decided.verdict = dataclasses.replace(
            decided.verdict, latency=latency, epoch=epoch, journaled=journaled
        )
        _, body, *heatmap = pack(verdict, decided.heatmap)
        entries.append(
            Entry(verdict.epoch, verdict.camera, verdict.sequence, verdict.captured_at, verdict.verdict, body,
                  heatmap[0] if heatmap else None)
        )  # fmt: skip
    return entries


def patience(batch: Sequence[Decided], now: int) -> float:
    """Returns how many seconds the disk has for a batch.

    That is until the first of its answers is due, but at least a tenth of the takt (a frame that is late already must
    not go out unjournaled because the disk is busy), at least 50 ms, and at most a second.
    """
    waits = [_MOST_WAIT_S]
    for frame in (decided.frame for decided in batch):
        if frame.deadline is not None:
            share = max(_LEAST_WAIT_S, _TAKT_SHARE * (frame.deadline - frame.captured) / 1e9)
            waits.append(max(share, (frame.deadline - now) / 1e9))
    return min(waits)
