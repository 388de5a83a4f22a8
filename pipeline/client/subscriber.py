"""Verdicts as another process receives them: each once, in order, and what was missed as well."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import zmq

from engines.closing import Closing
from pipeline.client.catch_up import CatchUp, Position, Since
from pipeline.client.sockets import open_replay, open_verdicts
from pipeline.protocol.replay import unpack_answer
from pipeline.protocol.sockets import HIGH_WATER_MARK
from pipeline.protocol.verdict import Heatmap, Verdict, unpack
from pipeline.security.curve import ClientKeys

_POLL_MS = 100


class VerdictSubscriber(Closing):
    """Receives a line's verdicts. A context manager, and an iterator that waits for the next one.

    Each verdict comes once, and those of one camera in their order. With a `replay` nothing is lost that the line has
    in its journal: what was published before the connection stood, while it was broken, or while nobody received is
    asked for, and verdicts after it wait until it is there. Without one, what was published meanwhile is lost.

    Example: print every verdict, and go on where an earlier run stopped.

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
        cameras: only these cameras; all when empty.
        replay: where the line answers for what was missed, as `[publish] replay` of its file says.
        since: a `position` of an earlier run, or the last sequence of each camera that was dealt with; a camera that is
            not in it begins with the oldest verdict of the journal. None for all that come from now on.
        queue: the most verdicts that wait in this process; with a replay, those after them are asked for later.
        curve: for a line that lets in only those whom it knows.

    Raises:
        ConfigError: an address is none.
    """

    def __init__(
        self,
        address: str,
        cameras: Sequence[str] = (),
        replay: str | None = None,
        since: Since | None = None,
        queue: int = HIGH_WATER_MARK,
        curve: ClientKeys | None = None,
    ) -> None:
        self._state = CatchUp(cameras, since, replay is not None)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._poller = zmq.Poller()
        try:
            self._sockets.append(open_verdicts(self._context, address, cameras, queue, curve))
            if replay is not None:
                self._sockets.append(open_replay(self._context, replay, curve))
        except BaseException:
            self.close()
            raise
        for socket in self._sockets:
            self._poller.register(socket, zmq.POLLIN)

    def receive(self, timeout: float | None = None) -> tuple[Verdict, Heatmap | None]:
        """Waits for the next verdict.

        Args:
            timeout: seconds to wait; None for ever.

        Raises:
            TimeoutError: nothing came in time.
            WireError: a message came that is no verdict, or of another version.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._state.ready:
            self._ask()
            left = _POLL_MS if deadline is None else int((deadline - time.monotonic()) * 1000)
            came = dict(self._poller.poll(max(0, min(left, _POLL_MS))))
            for socket in self._sockets:
                if socket in came:
                    self._take(socket)
            if not came and left <= 0:
                raise TimeoutError(f"no verdict within {timeout:g} s")
        return self._state.hand_over()

    def __iter__(self) -> Iterator[Verdict]:
        while True:
            yield self.receive()[0]

    @property
    def position(self) -> Position:
        """Up to where verdicts were received, as plain values to store and to give back as `since`."""
        return self._state.position

    @property
    def missed(self) -> int:
        """How many verdicts are known to be gone for good."""
        return self._state.missed

    def close(self) -> None:
        """Closes the sockets."""
        for socket in self._sockets:
            socket.close()
        self._context.term()

    def _ask(self) -> None:
        request = self._state.request(time.monotonic())
        if request is not None:
            try:
                self._sockets[1].send(request.pack(), zmq.NOBLOCK)
            except zmq.Again:
                self._state.unsent(time.monotonic())

    def _take(self, socket: zmq.Socket[Any]) -> None:
        parts = socket.recv_multipart()
        if socket is self._sockets[0]:
            self._state.came(unpack(parts), time.monotonic())
        else:
            self._state.answered(unpack_answer(parts), time.monotonic())
