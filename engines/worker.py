"""Daemon threads that run calls, and never keep the process alive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class Worker:
    """Runs calls on daemon threads; a single thread runs them in order.

    The interpreter joins the threads of a `ThreadPoolExecutor` when it exits. It does not join these, so a call that
    hangs cannot keep the process alive. The threads start with the first call.

    Args:
        name: the threads' name.
        threads: number of threads.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for _ in range(threads)]
        self._starting = threading.Lock()

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Runs a call after all earlier ones have begun; the future gets what it returned or raised."""
        with self._starting:
            for thread in self._threads:
                if thread.ident is None:
                    thread.start()
        future: Future[Result] = Future()
        self._calls.put((call, future))
        return future

    def close(self) -> None:
        """Finishes all submitted calls, then ends the threads."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _run(self) -> None:
        while (job := self._calls.get()) is not None:
            call, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - it is raised again from the future
                future.set_exception(error)
            else:
                future.set_result(result)
            # Otherwise these references would keep a whole batch alive until the next call.
            del job, call, future
