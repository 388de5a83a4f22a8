"""What tests of engines share."""

from __future__ import annotations

import pytest

from engines.bundle import Bundle
from engines.registry import open_engine
from tests.engines.faulty import write_faulty_bundle


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small bundle whose model fails on poisoned pictures."""
    bundle = write_faulty_bundle(tmp_path_factory.mktemp("bundles") / "faulty")
    # The first engine of a library starts threads that stay.
    for name in ("openvino", "onnxruntime", "torch"):
        open_engine(bundle, name, "f32", 1, "cpu").close()
    return bundle
