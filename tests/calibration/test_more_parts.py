"""The manifest says in words when more pictures of good parts would help."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.more_parts import more_parts
from engines.bundle import open_bundle


@pytest.mark.parametrize(
    ("count", "words"),
    [(10, "80 at the least"), (79, "better 200"), (80, "about 200"), (199, "about 200"), (200, None)],
)
def test_it_says_how_many(count: int, words: str | None) -> None:
    found = more_parts(count)
    assert (found is None) == (words is None)
    assert found is None or words is None or (words in found and found.startswith(f"{count} good parts"))


def test_the_manifest_keeps_it(small_bundle_path: Path) -> None:
    training = open_bundle(small_bundle_path).manifest.training
    assert training.more_parts is not None and training.more_parts == more_parts(training.normals)
