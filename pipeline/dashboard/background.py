"""Calls that may take long, away from the loop that serves the pages: reads of a journal, and orders."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

from engines.worker import Worker

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

# Apart, so that deploys which take minutes hold no page up. Neither keeps the process alive when a call hangs.
_READS, _ORDERS = Worker("journal reads", 4), Worker("orders", 4)


async def read(call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Runs a call that reads a disk."""
    return await asyncio.wrap_future(_READS.submit(partial(call, *args, **kwargs)))


async def carry_out(call: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Runs a call that changes something: an order, or a label."""
    return await asyncio.wrap_future(_ORDERS.submit(partial(call, *args, **kwargs)))
