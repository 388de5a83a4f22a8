"""A bridge to files that is killed again and again."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from pathlib import Path

from tests.pipeline.bridges.conftest import KILLED, OpenBridge, publish_slowly
from tests.pipeline.parts import Running, until


def test_files_hold_each_verdict_once_though_the_bridge_is_killed(
    running: Running, open_bridge: OpenBridge, tmp_path: Path
) -> None:
    file = tmp_path / "verdicts.jsonl"
    bridge = open_bridge("jsonl", file, "--max-mib", 0.05, "--keep", 100)
    publishing = publish_slowly(running, 2000)

    def written() -> list[int]:
        aside = sorted(tmp_path.glob("verdicts.jsonl.*"), key=lambda path: -int(path.suffix[1:]))
        text = "".join(path.read_text() for path in [*aside, file] if path.exists())
        return [json.loads(row)["sequence"] for row in text.split("\n")[:-1]]

    def at_least(count: int) -> bool:
        # A file may get another name just while it is being read.
        with suppress(FileNotFoundError):
            return len(written()) >= count
        return False

    for count in (200, 700, 1200, 1700):
        until(lambda count=count: at_least(count))
        assert bridge.end(signal.SIGKILL) == KILLED
        bridge.start()
    publishing.join()
    until(lambda: at_least(2000))
    assert bridge.end() == 0
    assert written() == list(range(2000))
    assert len(list(tmp_path.glob("verdicts.jsonl.*"))) > 3
