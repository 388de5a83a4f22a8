"""A thread that runs calls in order and never keeps the process alive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class Worker:
    """Runs calls one after the other on a daemon thread.

    Unlike a `ThreadPoolExecutor`, which the interpreter joins when it exits, a call that hangs here cannot keep the
    process from ending.

    Args:
        name: the thread's.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Runs a call after those that were submitted before; the future has what it returned or raised."""
        future: Future[Result] = Future()
        self._calls.put((call, future))
        return future

    def close(self) -> None:
        """Runs what was submitted, then ends the thread."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._calls.get()) is not None:
            call, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - it belongs to whoever waits for the future
                future.set_exception(error)
            else:
                future.set_result(result)
            # A reference that stays until the next call would keep a whole batch alive.
            del job, call, future
