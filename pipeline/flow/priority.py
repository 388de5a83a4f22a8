"""Threads that give way to others."""

from __future__ import annotations

import os
import threading
from contextlib import suppress


def give_way(niceness: int) -> None:
    """Lowers the priority of the calling thread, where the system lets it.

    Args:
        niceness: from 1 to 19, which gives way to everything else.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
