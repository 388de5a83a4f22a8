"""The process of an `EngineApart`: it gives way to everything else on the machine, and scores what it is sent.

Only what is light is imported before the priority is lowered: importing the libraries of an engine takes seconds.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from engines.apart_messages import receive, send

_NICE = 19


def main(handle: int) -> None:
    """Serves the engine's other half until that closes its end.

    Args:
        handle: number of the connected socket.
    """
    yields = give_way()
    with socket.socket(fileno=handle) as connection, suppress(EOFError, OSError):
        _serve(connection, yields)
    # Foreign libraries may hang while they are taken down, and nobody waits for them.
    os._exit(0)


def give_way() -> bool:
    """Gives this process the lowest priority; returns whether it now computes only where nothing else wants to.

    A session may be scheduled as a group: where it is this process's own, that group gives way, too. Where memory runs
    out, this process is the first to be ended.
    """
    files = {"/proc/self/oom_score_adj": 1000}
    if os.getsid(0) == os.getpid():
        files["/proc/self/autogroup"] = _NICE
    for path, value in files.items():
        with suppress(OSError):
            Path(path).write_text(str(value), "ascii")
    with suppress(OSError):
        os.nice(_NICE)
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):
        return False
    return True


def _serve(connection: socket.socket, yields: bool) -> None:
    from engines.bundle import open_bundle
    from engines.errors import TaktlineError
    from engines.foreign import translated
    from engines.registry import open_engine

    wanted = receive(connection)
    failure = "there is no way to open it"
    engine = None
    for way in wanted["ways"]:
        try:
            with translated("the engine cannot be opened"):
                engine = open_engine(open_bundle(Path(wanted["bundle"])), measure=False, **way)
            break
        except TaktlineError as error:
            failure = str(error)
    if engine is None:
        send(connection, {"error": failure})
        return
    send(connection, {
        "name": engine.name, "precision": engine.precision, "max_batch": engine.max_batch, "device": engine.device,
        "device_name": engine.device_name, "yields": yields,
    })  # fmt: skip
    while True:
        message = receive(connection)
        try:
            with translated(f"the engine {engine.name} failed on a batch"):
                answer = _score(engine, message)
        except TaktlineError as error:
            answer = {"error": str(error)}
        send(connection, answer)


def _score(engine: Any, message: dict[str, Any]) -> dict[str, Any]:
    import time

    import numpy as np

    # A copy: engines take only memory that may be written.
    frames = np.frombuffer(message["frames"], np.uint8).reshape(message["shape"]).copy()
    began = time.monotonic_ns()
    scores = engine.infer(frames)
    taken = time.monotonic_ns() - began
    return {
        "score": scores.score.tobytes(), "heatmap": np.ascontiguousarray(scores.heatmap).tobytes(),
        "shape": list(scores.heatmap.shape), "exact": scores.exact.tobytes(), "rescored": scores.rescored.tobytes(),
        "threshold": scores.threshold, "nanoseconds": taken,
    }  # fmt: skip
