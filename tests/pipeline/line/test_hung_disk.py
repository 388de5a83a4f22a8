"""A line whose journal lies on a disk that hangs: it answers in takt all the same, and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.line.build import build_line
from tests.pipeline.conftest import FrozenDisk
from tests.pipeline.line.test_line import config
from tests.pipeline.parts import held, until, verify

pytestmark = pytest.mark.serial


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_disk_that_hangs_costs_no_answer_its_takt(
    comes_back: bool, drawn: Path, bundle_path: Path, frozen: FrozenDisk
) -> None:
    address, path = "tcp://127.0.0.1:*", frozen.folder / "line.journal"
    settings = config(
        bundle_path, "", address, publish={"verdicts": address}, line={"takt_ms": 1000}, journal={"path": path},
        camera=[{"name": "top", "source": f"replay:{drawn}", "fps": 10}],  # type: ignore[arg-type]
    )  # fmt: skip
    verdicts = []
    with build_line(settings, watched=True) as line:
        line.start()
        for decided in line.decided():
            verdicts.append(decided.verdict)
            if len(verdicts) == 3:
                frozen.freeze()
        status = line.status()["journal"]
        if comes_back:
            frozen.thaw()
            until(lambda: line.status()["journal"]["trouble"] is None)
        else:
            line.close(2)
            assert "the journal" in line.hung
            frozen.thaw()
    assert [verdict.sequence for verdict in verdicts] == list(range(18))
    assert [verdict.journaled for verdict in verdicts] == [True] * 3 + [False] * 15
    assert all(verdict.latency.total < 1_000_000_000 for verdict in verdicts)
    assert "has not answered" in status["trouble"]
    if comes_back:
        assert verify(path).good
        assert [found.verdict for found in held(path)] == verdicts
