"""A plant of many lines and one PostgreSQL, in which server and bridge are killed; each verdict must be stored once.

    python -m tests.pipeline.bridges.plant --lines 100 --rate 20 --seconds 120
    python -m tests.pipeline.bridges.plant --lines 20 --rate 200 --seconds 20 --behind

With `--behind`, nobody is killed, and the bridge starts when all is in the journals: how fast does it catch up?

The lines are real publishers, journals and replays, a few dozen in a process; the bridge is `taktline bridge sql`.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from pipeline.journal.reader import JournalReader
from pipeline.journal.selection import Selection
from tests.paths import ROOT
from tests.peers.postgres import Postgres
from tests.pipeline.bridges.conftest import BridgeProcess
from tests.pipeline.parts import Running

LINES_A_PROCESS = 20
# Verdicts come as batches do: those of a full one at once.
BURST = 8
PUBLISH = {"verdicts": "tcp://127.0.0.1:*", "replay": "tcp://127.0.0.1:*"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0, help="verdicts a second of each line")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--behind", action="store_true", help="start the bridge at the end, and let it catch up")
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    many = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (many, many))
    if asked.worker is not None:
        work(asked.folder, range(*asked.worker), asked.rate, asked.seconds)
        return
    with tempfile.TemporaryDirectory(prefix="taktline-plant-") as folder:
        measured = catch_up if asked.behind else measure
        print(json.dumps(measured(Path(folder), asked.lines, asked.rate, asked.seconds)))


def work(folder: Path, numbers: range, rate: float, seconds: float) -> None:
    """Runs some of the lines: tells where they are, publishes on time, and answers re-reads until its input ends."""
    with ExitStack() as stack:
        lines = [
            stack.enter_context(Running(PUBLISH, {"path": folder / f"press{n}.journal"}, name=f"press{n}"))
            for n in numbers
        ]
        print(json.dumps([[line.name, line.socket.address, line.replay.address] for line in lines if line.replay]))
        sys.stdout.flush()
        sys.stdin.readline()
        began = time.monotonic()
        for turn in range(round(rate * seconds / BURST)):
            time.sleep(max(0.0, began + turn * BURST / rate - time.monotonic()))
            for line in lines:
                line.publish(BURST)
        print(time.monotonic() - began, flush=True)
        sys.stdin.readline()


@contextmanager
def workers(folder: Path, lines: int, rate: float, seconds: float) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", __spec__.name, "--folder", folder, "--rate", rate, "--seconds", seconds]
    found = []
    try:
        for first in range(0, lines, LINES_A_PROCESS):
            part = ["--worker", first, min(first + LINES_A_PROCESS, lines)]
            words = [str(word) for word in [*command, *part]]
            found.append(
                subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            )
        yield found
    finally:
        for process in found:
            process.kill()
            process.communicate()


def named(folder: Path, running: list[subprocess.Popen[str]]) -> list[str]:
    """Writes the file that names the lines, and returns their names."""
    entries = [entry for process in running for entry in json.loads(_said(process))]
    (folder / "plant.toml").write_text("".join(
        f'[[line]]\nname = "{name}"\nverdicts = "{verdicts}"\nreplay = "{replay}"\n'
        for name, verdicts, replay in entries
    ))  # fmt: skip
    return [name for name, *_ in entries]


def catch_up(folder: Path, lines: int, rate: float, seconds: float) -> dict[str, Any]:
    with Postgres(max_wal_size="512MB") as server, workers(folder, lines, rate, seconds) as running:
        server.start()
        names = named(folder, running)
        for process in running:
            _tell(process)
        for process in running:
            _said(process)
        total = sum(len(journaled(folder, name)) for name in names)
        began = time.monotonic()
        with ExitStack() as stack:
            bridge = BridgeProcess(folder, "sql", "--url", server.url, "--lines", folder / "plant.toml")
            stack.callback(bridge.kill)
            while (count := stored(server)) < total:
                assert time.monotonic() - began < 300, f"{count} of {total} verdicts are stored"
                time.sleep(0.05)
            took, used = time.monotonic() - began, _processor_s(bridge.pid)
    return {
        "lines": lines, "verdicts": total, "took_s": round(took, 1), "bridge_processor_s": round(used, 1),
        "verdicts_per_processor_s": round(total / used),
    }  # fmt: skip


def stored(server: Postgres) -> int:
    """How many verdicts are stored; 0 before a bridge has made the tables."""
    if server.ask("SELECT to_regclass('verdicts')") == [(None,)]:
        return 0
    return int(server.ask("SELECT count(*) FROM verdicts")[0][0])


def measure(folder: Path, lines: int, rate: float, seconds: float) -> dict[str, Any]:
    with Postgres(max_wal_size="512MB") as server, ExitStack() as stack:
        running = stack.enter_context(workers(folder, lines, rate, seconds))
        server.start()
        names, plant = named(folder, running), folder / "plant.toml"
        bridge = BridgeProcess(folder, "sql", "--url", server.url, "--lines", plant, "--keep-days", 7)
        stack.callback(bridge.kill)
        for process in running:
            _tell(process)
        used = []
        for turn in range(4):
            time.sleep(seconds / 5)
            if turn % 2:
                used.append(_processor_s(bridge.pid))
                bridge.end(signal.SIGKILL)
                time.sleep(seconds / 60)
                bridge.start()
            else:
                server.kill()
                time.sleep(seconds / 60)
                server.start()
        took = max(float(_said(process)) for process in running)
        expected = {key for name in names for key in journaled(folder, name)}
        ended = time.monotonic()
        while (count := stored(server)) < len(expected):
            assert time.monotonic() - ended < 300, f"{count} of {len(expected)} verdicts are stored"
            time.sleep(0.2)
        behind = time.monotonic() - ended
        found = server.ask("SELECT line, epoch, camera, sequence FROM verdicts")
        used.append(_processor_s(bridge.pid))
        ended_with = bridge.end()
    return {
        "lines": lines, "rate": rate, "seconds": seconds, "published_in_s": round(took, 1),
        "journaled": len(expected), "stored": len(found), "missing": len(expected - set(found)),
        "twice": len(found) - len(set(found)), "behind_s": round(behind, 1), "bridge_exit": ended_with,
        "bridge_processor_s": round(sum(used), 1),
    }  # fmt: skip


def journaled(folder: Path, name: str) -> set[tuple[str, str, str, int]]:
    with JournalReader(folder / f"{name}.journal") as reader:
        return {
            (name, verdict.epoch, verdict.camera, verdict.sequence)
            for verdict, *_ in reader.find(Selection(), 10_000_000)
        }


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _processor_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
