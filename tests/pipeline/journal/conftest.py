"""What tests of history share: a journal that is drawn, and labelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.journal.labels import LabelBook, VerdictKey
from tests.pipeline.journal.drawn import draw, write


@pytest.fixture(scope="package")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of drawn verdicts, some of them labelled. Read it only."""
    path = tmp_path_factory.mktemp("history") / "line.journal"
    write(path, draw())
    with LabelBook(path, wall_ns=lambda: 9) as book:
        for verdict in draw()[::7]:
            label = ("false alarm", "missed defect", "confirmed")[verdict.sequence % 3]
            book.set(VerdictKey(verdict.camera, verdict.epoch, verdict.sequence), label, "anna")  # type: ignore[arg-type]
        for verdict in draw()[::21]:
            book.set(VerdictKey(verdict.camera, verdict.epoch, verdict.sequence), None, "bert")
    return path
