"""Real-time priority for what measures, so that nothing on the same core delays it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_PRIORITY = 1


@contextmanager
def before_others(processes: Sequence[int]) -> Iterator[None]:
    """Lets processes, by their ids, and this one run before all others, where the system allows it.

    That is so for the threads that they have, such as those of ZeroMQ. Whatever they start has the usual priority.
    """
    first_in_first_out = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    threads = [
        int(task.name) for process in [*processes, os.getpid()] for task in Path(f"/proc/{process}/task").iterdir()
    ]
    before = [(thread, os.sched_getscheduler(thread), os.sched_getparam(thread)) for thread in threads]
    # Only the superuser may, or who was given the right to.
    with suppress(PermissionError):
        for thread in threads:
            os.sched_setscheduler(thread, first_in_first_out, os.sched_param(_PRIORITY))
    try:
        yield
    finally:
        for thread, policy, parameter in before:
            with suppress(ProcessLookupError, PermissionError):
                os.sched_setscheduler(thread, policy, parameter)
