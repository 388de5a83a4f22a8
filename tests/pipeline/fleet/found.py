"""How often a rolling deploy finds a worse bundle on its first line. Makes the figures of docs/fleet.md.

    python -m tests.pipeline.fleet.found --before 0.02 --parts 200 --lines 50
"""

from __future__ import annotations

import argparse

import numpy as np

from pipeline.fleet.bounds import Bounds, Trial
from pipeline.fleet.evidence import Tally
from tests.pipeline.fleet.test_evidence import status

SHARES = (0.3, 0.15, 0.1, 0.08)


def found_after(share: float, before: float, parts: int, lines: int, runs: int) -> dict[int, float]:
    """Returns in which share of roll-outs a bundle with this share of ng is found, by the look that finds it."""
    random, bounds = np.random.default_rng(0), Bounds(parts=parts)
    start = Tally(round(2000 * (1 - before)), round(2000 * before))
    found = dict.fromkeys(bounds.looks(), 0)
    for _ in range(runs):
        trial, bad = Trial(status(start), status(start), bounds, lines), random.random(parts) < share
        for look in bounds.looks():
            ng = int(bad[:look].sum())
            if trial.look(status(Tally(start.ok + look - ng, start.ng + ng))) is not None:
                found[look] += 1
                break
    return {look: count / runs for look, count in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=float, default=0.02, help="share of ng before, in 2000 parts")
    parser.add_argument("--parts", type=int, default=200)
    parser.add_argument("--lines", type=int, default=50)
    parser.add_argument("--runs", type=int, default=1000)
    asked = parser.parse_args()
    for share in SHARES:
        found = found_after(share, asked.before, asked.parts, asked.lines, asked.runs)
        looks = ", ".join(f"{one:.2f} after {look}" for look, one in found.items())
        print(f"{share:.2f} ng: found in {sum(found.values()):.2f} ({looks})")


if __name__ == "__main__":
    main()
