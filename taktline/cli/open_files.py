"""Lets a command open more files than the usual 1024, for sockets to hundreds of lines."""

from __future__ import annotations

import resource

_WANTED = 16_384


def allow_many_files() -> None:
    """Raises this process's limit of open files as far as the system allows; libzmq aborts where it meets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
