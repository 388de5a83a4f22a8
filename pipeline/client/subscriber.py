"""Verdicts as another process receives them: each once, in order, including those it missed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import zmq

from engines.closing import Closing
from pipeline.client.core import SubscriberCore
from pipeline.protocol.verdict import Heatmap, Verdict


class VerdictSubscriber(SubscriberCore, Closing):
    """Receives a line's verdicts. A context manager, and an iterator that waits for the next one.

    Each verdict comes once, and those of one camera in order. With a `replay` you get everything in the line's journal:
    the subscriber asks for what was published before it connected, while the connection was broken, or while nobody
    received, and hands it over before later verdicts. Without a `replay`, those verdicts are lost.

    Example: print every verdict, and resume where an earlier run stopped.

        import json
        from pathlib import Path

        from taktline import VerdictSubscriber

        stored = Path("position.json")
        since = json.loads(stored.read_text()) if stored.exists() else None
        with VerdictSubscriber("tcp://127.0.0.1:5556", replay="tcp://127.0.0.1:5557", since=since) as subscriber:
            for verdict in subscriber:
                print(verdict.camera, verdict.sequence, verdict.verdict, verdict.score)
                stored.write_text(json.dumps(subscriber.position))

    Args:
        address: where the line publishes, such as `tcp://127.0.0.1:5556`.
        cameras: only these cameras; all if empty.
        replay: the line's replay address, `[publish] replay` in its file.
        since: a `position` of an earlier run, or the last sequence of each camera that you have handled; a camera that
            is not in it begins with the oldest verdict of the journal. None for all verdicts from now on.
        queue: the most verdicts that wait in this process; with a replay, any beyond that are fetched later.
        curve: keys, for a line that uses CURVE.
        on_gap: called from `receive` with each gap, before the verdict after it: which verdicts are lost, and why.
        context: a ZeroMQ context that subscribers share, so that a hundred of them need one thread and not two hundred;
            whoever made it ends it. None for one of its own.

    Raises:
        ConfigError: an address or `since` cannot be used.
    """

    @cached_property
    def _poller(self) -> zmq.Poller:
        return self.register(zmq.Poller())

    def receive(self, timeout: float | None = None) -> tuple[Verdict, Heatmap | None]:
        """Waits for the next verdict.

        Args:
            timeout: seconds to wait; None to wait forever.

        Raises:
            TimeoutError: no verdict came in time.
            WireError: a message arrived that is not a verdict, or has another version.
        """
        for wait_ms in self._waits(timeout):
            self._poller.poll(wait_ms)
        return self._hand_over()

    def __iter__(self) -> Iterator[Verdict]:
        while True:
            yield self.receive()[0]
