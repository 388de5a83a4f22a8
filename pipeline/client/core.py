"""What both subscribers have in common: everything except waiting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import zmq

from engines.closing import closed_on_error
from pipeline.client.catch_up import CatchUp
from pipeline.client.position import Position, Since
from pipeline.client.sockets import open_replay, open_verdicts
from pipeline.protocol.gap import Gap
from pipeline.protocol.replay import Received, unpack_answer
from pipeline.protocol.sockets import HIGH_WATER_MARK
from pipeline.protocol.verdict import unpack
from pipeline.security.curve import ClientKeys

_POLL_MS = 100


Poller = TypeVar("Poller", bound=zmq.Poller)


class SubscriberCore:
    """Owns a subscriber's sockets and never waits on them: `VerdictSubscriber` and its asyncio twin add that.

    Arguments and errors are those of `VerdictSubscriber`.
    """

    def __init__(
        self,
        address: str,
        cameras: Sequence[str] = (),
        replay: str | None = None,
        since: Since | None = None,
        queue: int = HIGH_WATER_MARK,
        curve: ClientKeys | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self._state, self._on_gap = CatchUp(cameras, since, replay is not None), on_gap
        self._own_context = context is None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context() if context is None else context
        self._sockets: list[zmq.Socket[bytes]] = []
        with closed_on_error(self):
            self._sockets.append(open_verdicts(self._context, address, cameras, queue, curve))
            if replay is not None:
                self._sockets.append(open_replay(self._context, replay, curve))

    @property
    def position(self) -> Position:
        """How far verdicts were received, as plain values to store and pass as `since` later."""
        return self._state.position

    @property
    def missed(self) -> int:
        """Number of verdicts that are known to be lost."""
        return self._state.missed

    def close(self) -> None:
        """Closes the sockets."""
        for socket in self._sockets:
            socket.close()
        if self._own_context:
            self._context.term()

    def register(self, poller: Poller) -> Poller:
        """Registers the sockets with a poller, for whoever waits for several subscribers at once.

        When one of them is ready, and now and then in any case, receive with a timeout of 0 until that times out.
        """
        for socket in self._sockets:
            poller.register(socket, zmq.POLLIN)
        return poller

    def _waits(self, timeout: float | None) -> Iterator[int]:
        """Yields how many milliseconds to poll the sockets, repeatedly, until a verdict is ready.

        Raises:
            TimeoutError: none came in time.
            WireError: a message arrived that is not a verdict.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._ready():
            self._ask()
            if self._take():
                continue
            left = _POLL_MS if deadline is None else int((deadline - time.monotonic()) * 1000)
            if left <= 0:
                raise TimeoutError(f"no verdict within {timeout:g} s")
            yield min(left, _POLL_MS)

    def _hand_over(self) -> Received:
        """Returns the verdict that is ready."""
        item = self._state.hand_over()
        assert not isinstance(item, Gap)
        return item

    def _ready(self) -> bool:
        """Reports the gaps that come first, and returns whether a verdict is ready."""
        ready = self._state.ready
        while ready and isinstance(ready[0], Gap):
            gap = self._state.hand_over()
            if self._on_gap is not None:
                assert isinstance(gap, Gap)
                self._on_gap(gap)
        return bool(ready)

    def _ask(self) -> None:
        request = self._state.request(time.monotonic())
        if request is not None:
            try:
                self._sockets[1].send(request.pack(), zmq.NOBLOCK)
            except zmq.Again:
                self._state.unsent(time.monotonic())

    def _take(self) -> bool:
        """Takes a message from each socket that has one, and returns whether any had."""
        taken = False
        for socket in self._sockets:
            try:
                parts = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                continue
            taken = True
            if socket is self._sockets[0]:
                self._state.arrived(unpack(parts), time.monotonic())
            else:
                self._state.answered(unpack_answer(parts), time.monotonic())
        return taken
