"""A fault run: a line with real cameras, and everything that can happen to it, at random. Prints what came of it."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import logging
import random
import shutil
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil

from calibration.parts import DEFECTS
from engines.bundle import open_bundle, update_manifest
from pipeline.config.line_file import check_config
from pipeline.line.line import Line
from tests.pipeline.line.faults import FAKE_GIGE, PEERS, Faults, Peer, stumbling_line


def soak(bundle: Path, drawn: Path, work: Path, minutes: float, seed: int) -> dict[str, object]:
    """Runs the line under faults and returns what came of it."""
    folder = work / "pictures"
    folder.mkdir()
    other = Path(shutil.copytree(bundle, work / "other"))
    update_manifest(open_bundle(other), {"created_at": "1970-01-01T00:00:00+00:00"})
    broken = Path(shutil.copytree(bundle, work / "broken"))
    with (broken / "model.onnx").open("ab") as file:
        file.write(b"!")
    ports = [free_port() for _ in range(3)]
    server = PEERS / "mjpeg_server.py"
    peers = {
        "net": Peer(sys.executable, server, ports[0], 1_000_000, ready=True),
        "flood": Peer(sys.executable, server, ports[1], 1_000_000, "flood", ready=True),
        "watch": Peer(sys.executable, "-m", "taktline", "watch", f"tcp://127.0.0.1:{ports[2]}", "--json",
                      out=work / "watched.jsonl"),
    }  # fmt: skip
    cameras = [
        {"name": "net", "source": f"http://127.0.0.1:{ports[0]}/", "silence_ms": 700},
        {"name": "flood", "source": f"http://127.0.0.1:{ports[1]}/", "silence_ms": 700},
        {"name": "files", "source": f"folder:{folder}", "follow": True},
    ]
    if shutil.which(FAKE_GIGE) is not None:
        peers["gige"] = Peer(FAKE_GIGE, "-i", "127.0.0.1", "-s", "SOAK")
        cameras.append({"name": "gige", "source": "gige:127.0.0.1", "silence_ms": 700, "fps": 5})
    values = {
        "line": {"name": "soak", "takt_ms": 500},
        # One engine throughout: each takes memory of its own, and `auto` may choose another for the other bundle.
        "model": {"bundle": str(bundle), "engine": "openvino", "max_batch": 4},
        "camera": cameras,
        "publish": {"verdicts": f"tcp://127.0.0.1:{ports[2]}", "await_subscribers": 1},
        "control": {"bind": "tcp://127.0.0.1:*"},
    }
    parts = sorted(path for kind in ("good", *DEFECTS) for path in (drawn / "test" / kind).glob("*.png"))
    rng = random.Random(seed)
    before: dict[str, object] = {}
    found: dict[str, object] = {}
    for name, peer in peers.items():
        if name != "flood":
            peer.start()
    try:
        # The first line loads what stays for the life of the process.
        for whole in (False, True):
            before = leftovers()
            stumbles: list[int] = []
            with stumbling_line(check_config(values, "soak"), stumbles) as line:
                faults = Faults(line, stumbles, peers, folder, parts, rng, [other, bundle], broken)
                found = run(line, faults, minutes if whole else 0.05)
        after = leftovers()
    finally:
        for peer in peers.values():
            peer.close()
    seen = [json.loads(text) for text in (work / "watched.jsonl").read_text().splitlines()]
    return found | {"before": before, "after": after, "watched": len(seen)}


def run(line: Line, faults: Faults, minutes: float) -> dict[str, object]:
    """Throws each fault once, then any at random, and reads what the line answers."""
    answers: dict[str, list[int]] = {camera.name: [] for camera in line.config.camera}
    reasons: Counter[str] = Counter()
    slow: list[float] = []

    def read() -> None:
        for decided in line.decided():
            verdict = decided.verdict
            answers[verdict.camera].append(verdict.sequence)
            reasons[verdict.reason or "inspected"] += 1
            slow.append(verdict.latency.total / 1e6)
            del slow[:-10_000]

    line.start()
    reader = threading.Thread(target=read)
    reader.start()
    thrown: Counter[str] = Counter()
    for fault in faults.all:
        fault()
        thrown[fault.__name__] += 1
    memory = [settled_memory()]
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        fault = faults.rng.choice(faults.all)
        fault()
        thrown[fault.__name__] += 1
        time.sleep(faults.rng.uniform(0.1, 0.8))
    memory.append(settled_memory())
    line.drain()
    ended = line.wait(60)
    reader.join()
    delivered = {name: camera["frames"] for name, camera in line.status()["cameras"].items()}
    return {
        "ended": ended,
        "delivered": delivered,
        "answered": {name: len(numbers) for name, numbers in answers.items()},
        "in_order": all(numbers == list(range(len(numbers))) for numbers in answers.values()),
        "by_reason": dict(reasons),
        "slowest_ms": max(slow),
        "thrown": dict(thrown),
        "memory": memory,
    }


def settled_memory() -> int:
    """Returns the bytes that are its own once the line is quiet and freed memory is given back.

    Mapped files are not counted: the kernel drops their pages and reads them again as it likes.
    """
    time.sleep(2)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    memory = psutil.Process().memory_info()
    return int(memory.rss - memory.shared)


def leftovers() -> dict[str, object]:
    """Returns what a closed line must not leave behind, once an opening that was under way has timed out."""
    until = time.monotonic() + 20
    while time.monotonic() < until and any(thread.name.startswith("read ") for thread in threading.enumerate()):
        time.sleep(0.1)
    gc.collect()
    process = psutil.Process()
    return {
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "handles": process.num_fds(),
        "sockets": len(process.net_connections("all")),
        "children": len(process.children(recursive=True)),
        "models": sorted(mapped.path for mapped in process.memory_maps() if mapped.path.endswith((".blob", ".onnx"))),
    }


def free_port() -> int:
    """Returns a TCP port that is free on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Runs from the command line and prints JSON."""
    parser = argparse.ArgumentParser()
    for name in ("bundle", "drawn", "work"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    found = soak(arguments.bundle, arguments.drawn, arguments.work, arguments.minutes, arguments.seed)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
