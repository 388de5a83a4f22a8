"""What tests of live cameras share: a line that runs, its answers so far, and peers in processes of their own."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config.line_file import check_config
from pipeline.line.build import build_line
from pipeline.line.line import Line
from pipeline.protocol.verdict import Verdict
from tests.paths import ROOT

PEERS = ROOT / "tests" / "peers"

WRITER = """
import sys, time
from pathlib import Path
folder, picture = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes()
for index in range(3):
    with open(folder / f"{index}.png", "wb", buffering=0) as file:
        file.write(picture[: len(picture) // 2])
        time.sleep(0.7)
        file.write(picture[len(picture) // 2 :])
"""


def start(*command: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def line_config(bundle: Path, source: str, **camera: object) -> dict[str, object]:
    return {
        # No takt: what a source gives is tested here, on machines of any speed.
        "line": {},
        "model": {"bundle": str(bundle), "precision": "f32", "max_batch": 2},
        "camera": [{"name": "top", "source": source, "silence_ms": 700, **camera}],
        "publish": {"verdicts": "tcp://127.0.0.1:*"},
    }


class Answers:
    """What a running line has answered so far."""

    def __init__(self, line: Line) -> None:
        self.verdicts: list[Verdict] = []
        self._reader = threading.Thread(target=self._read, args=(line,))
        self._reader.start()

    def _read(self, line: Line) -> None:
        for decided in line.decided():
            self.verdicts.append(decided.verdict)

    def await_more(self, count: int) -> None:
        self.await_in_all(len(self.verdicts) + count)

    def await_in_all(self, wanted: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.verdicts) < wanted:
            assert time.monotonic() < deadline, f"{len(self.verdicts)} of {wanted} verdicts came"
            time.sleep(0.05)

    def finish(self) -> None:
        self._reader.join(30)


@contextmanager
def running(values: dict[str, object]) -> Iterator[tuple[Line, Answers]]:
    """Runs a line; in the end every frame that its camera gave must have one answer, in order."""
    with build_line(check_config(values, "test"), watched=True) as line:
        line.start()
        answers = Answers(line)
        try:
            yield line, answers
        finally:
            line.drain()
            assert line.wait(30)
            answers.finish()
        sequences = [verdict.sequence for verdict in answers.verdicts]
        assert sequences == list(range(line._sources[0]._sequence))
