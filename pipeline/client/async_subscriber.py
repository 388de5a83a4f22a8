"""The subscriber for programs that run on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cached_property

import zmq
import zmq.asyncio

from engines.closing import AsyncClosing
from pipeline.client.core import SubscriberCore
from pipeline.protocol.verdict import Heatmap, Verdict


class AsyncVerdictSubscriber(SubscriberCore, AsyncClosing):
    """Receives a line's verdicts as `VerdictSubscriber` does. An asynchronous context manager and iterator.

    Arguments and errors are those of `VerdictSubscriber`.
    """

    @cached_property
    def _poller(self) -> zmq.asyncio.Poller:
        return self.register(zmq.asyncio.Poller())

    async def receive(self, timeout: float | None = None) -> tuple[Verdict, Heatmap | None]:
        """Waits for the next verdict; arguments and errors are those of `VerdictSubscriber.receive`."""
        # If many are ready, other tasks must still get their turn.
        await asyncio.sleep(0)
        for wait_ms in self._waits(timeout):
            await self._poller.poll(wait_ms)
        return self._hand_over()

    async def __aiter__(self) -> AsyncIterator[Verdict]:
        while True:
            yield (await self.receive())[0]
