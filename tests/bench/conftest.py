"""What tests of the bench share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bundle_path(small_bundle_path: Path) -> Path:
    """The small bundle takes the usual one's place: these tests ask how it is measured."""
    return small_bundle_path
