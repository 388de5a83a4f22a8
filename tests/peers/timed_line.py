"""A line whose engine takes a known time, and stalls once where it is told to: what the harness must find again.

Arguments: milliseconds that a batch takes, the number of the batch that stalls, for how many, the line file.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

from engines.bundle import Bundle
from engines.engine import Engine
from pipeline.config.line_file import read_line_file
from pipeline.line.build import build_line
from taktline.cli.signals import on_signals
from tests.pipeline.line.test_takt import TimedEngine


def open_timed(bundle: Bundle) -> Engine:
    """Opens such an engine in the place of the line's own."""
    service, number, stall = (float(word) for word in sys.argv[1:4])
    batches = itertools.count()

    def serve(_count: int) -> None:
        time.sleep((stall if next(batches) == number else service) / 1000)

    return TimedEngine(bundle.size, serve)


with build_line(read_line_file(Path(sys.argv[4])), opener=open_timed) as line, on_signals(line.drain):
    line.start()
    line.wait()
