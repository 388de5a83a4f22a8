"""The same for programs that run on asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio

from pipeline.client.catch_up import CatchUp, Position, Since
from pipeline.client.sockets import open_replay, open_verdicts
from pipeline.protocol.replay import unpack_answer
from pipeline.protocol.sockets import HIGH_WATER_MARK
from pipeline.protocol.verdict import Heatmap, Verdict, unpack
from pipeline.security.curve import ClientKeys

_POLL_MS = 100


class AsyncVerdictSubscriber:
    """Receives a line's verdicts as `VerdictSubscriber` does. An asynchronous context manager and iterator.

    Args and errors: as of `VerdictSubscriber`.
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
        self._context = zmq.asyncio.Context()
        self._sockets: list[zmq.asyncio.Socket] = []
        self._poller = zmq.asyncio.Poller()
        try:
            self._sockets.append(open_verdicts(self._context, address, cameras, queue, curve))
            if replay is not None:
                self._sockets.append(open_replay(self._context, replay, curve))
        except BaseException:
            self.close()
            raise
        for socket in self._sockets:
            self._poller.register(socket, zmq.POLLIN)

    async def receive(self, timeout: float | None = None) -> tuple[Verdict, Heatmap | None]:
        """Waits for the next verdict; the arguments and errors are those of `VerdictSubscriber.receive`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._state.ready:
            await self._ask()
            left = _POLL_MS if deadline is None else int((deadline - time.monotonic()) * 1000)
            came: dict[Any, int] = dict(await self._poller.poll(max(0, min(left, _POLL_MS))))
            for socket in self._sockets:
                if socket in came:
                    await self._take(socket)
            if not came and left <= 0:
                raise TimeoutError(f"no verdict within {timeout:g} s")
        return self._state.hand_over()

    async def __aiter__(self) -> AsyncIterator[Verdict]:
        while True:
            verdict, _ = await self.receive()
            yield verdict
            # Where many are ready, other tasks must have their turn as well.
            await asyncio.sleep(0)

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

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def _ask(self) -> None:
        request = self._state.request(time.monotonic())
        if request is not None:
            try:
                await self._sockets[1].send(request.pack(), zmq.NOBLOCK)
            except zmq.Again:
                self._state.unsent(time.monotonic())

    async def _take(self, socket: zmq.asyncio.Socket) -> None:
        parts = await socket.recv_multipart()
        if socket is self._sockets[0]:
            self._state.came(unpack(parts), time.monotonic())
        else:
            self._state.answered(unpack_answer(parts), time.monotonic())
