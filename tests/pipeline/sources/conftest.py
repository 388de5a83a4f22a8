"""What tests of sources share: a port, and a video."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 50 pictures that grow brighter."""
    path = tmp_path_factory.mktemp("video") / "part.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for number in range(50):
        writer.write(np.full((120, 160, 3), 20 + 4 * number, np.uint8))
    writer.release()
    return path


@pytest.fixture
def port(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])
