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
    threads = [
        (process, int(task.name))
        for process in [*processes, os.getpid()]
        for task in Path(f"/proc/{process}/task").iterdir()
    ]
    before = []
    # Only the superuser may, or who was given the right to.
    with suppress(PermissionError):
        for process, thread in threads:
            # ZeroMQ's threads start none. One that just begins takes its policy for its own, and dies of the flag.
            on_fork = os.SCHED_RESET_ON_FORK if thread == process else 0
            with suppress(ProcessLookupError):
                before.append((thread, os.sched_getscheduler(thread), os.sched_getparam(thread)))
                os.sched_setscheduler(thread, os.SCHED_FIFO | on_fork, os.sched_param(_PRIORITY))
    try:
        yield
    finally:
        for thread, policy, parameter in before:
            with suppress(ProcessLookupError, PermissionError):
                os.sched_setscheduler(thread, policy, parameter)
