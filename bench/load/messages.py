"""Verdicts of a plant as messages."""

from __future__ import annotations

import time

from pipeline.protocol.verdict import Latency, Region, Verdict, pack

_NG_EVERY = 20
_EVERY_NS = 500_000


def plant_message(number: int, lines: int) -> list[bytes]:
    """Returns a verdict as it stands on the wire: the lines of a plant take turns, and each counts for itself."""
    bad = number % _NG_EVERY == 0
    verdict = Verdict(
        line=f"press{number % lines}", camera="top", sequence=number // lines, verdict="ng" if bad else "ok",
        reason=None, score=3.5 if bad else 0.25, threshold=2.0, regions=(Region(120, 80, 60, 40, 9.5),) if bad else (),
        part=f"lot-17/{number:09d}", captured_at=time.time_ns() // _EVERY_NS * _EVERY_NS,
        latency=Latency(9_000_000, 21_000_000, 300_000, 90_000), engine="openvino", precision="bf16", exact=True,
        bundle="0123456789ab", epoch="5f0c", journaled=True,
    )  # fmt: skip
    return pack(verdict, None)
