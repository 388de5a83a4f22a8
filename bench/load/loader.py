"""Loads a line from another process: sends every frame at its scheduled moment, whatever happened to earlier ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench.load.decode import Decode
from bench.load.pictures import as_sent, load_pictures
from bench.load.schedule import Schedule
from engines.closing import Closing
from pipeline.client.feed_sender import FeedSender

_PATIENCE_S = 60.0


class Loader(Closing):
    """Sends pictures to a line's feeds on schedule: an open loop, which waits for no verdict.

    Args:
        addresses: of the feeds, one per camera.
        data: data set whose test pictures are sent in turn; None for drawn parts.
        size: size of the network's input.
        decode: the form in which they are sent.
    """

    def __init__(self, addresses: Sequence[str], data: Path | None, size: tuple[int, int], decode: Decode) -> None:
        self._pictures = as_sent(load_pictures(data), size, decode)
        self._senders = [FeedSender(address) for address in addresses]
        self._next = 0

    def play(self, name: str, schedule: Schedule, start: int) -> list[int]:
        """Sends a schedule's frames, each with its number as the part id and its scheduled moment as capture time.

        Args:
            name: prefix of the part ids.
            schedule: the moments and cameras.
            start: monotonic nanoseconds from which the schedule counts.

        Returns:
            For each frame, how many nanoseconds after its moment it had been sent.

        Raises:
            TaktlineError: the line takes no more frames.
        """
        late = []
        arrivals = zip(schedule.moments.tolist(), schedule.cameras.tolist(), strict=True)
        for number, (moment, camera) in enumerate(arrivals):
            due = start + moment
            pause = due - time.monotonic_ns()
            if pause > 0:
                time.sleep(pause / 1e9)
            picture = self._pictures[self._next % len(self._pictures)]
            self._next += 1
            self._senders[camera].send(picture, f"{name}.{number}", due, _PATIENCE_S)
            late.append(time.monotonic_ns() - due)
        return late

    def close(self) -> None:
        """Closes the connections."""
        for sender in self._senders:
            sender.close()
