"""What measures cameras alone, on a real video file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.measure.capture import measure_capture
from engines.errors import TaktlineError
from pipeline.config.camera import CameraConfig
from tests.conftest import RunTaktline


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "part.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for number in range(20):
        writer.write(np.full((120, 160, 3), 10 * number, np.uint8))
    writer.release()
    return path


def test_threads_and_processes_read_the_same_video_again_and_again(video: Path) -> None:
    config = CameraConfig(name="bench", source=f"file:{video}", fps=40)
    results = measure_capture(config, cameras=2, seconds=1.5, rounds=1)
    assert [result.way for result in results] == ["threads", "processes"]
    for result in results:
        assert result.cameras == 2
        # 60 pictures of each camera at the most: more than the video has, and never faster than asked for.
        assert 0 < result.slowest_per_s <= result.pictures_per_s <= 2 * 40 * 1.1
        assert result.cpu_ms > 0


def test_the_command(video: Path, taktline: RunTaktline, taktline_in_process: RunTaktline) -> None:
    done = taktline("bench", "capture", f"file:{video}", "--cameras", 2, "--seconds", 0.3, "--json")
    assert done.returncode == 0, done.stderr
    assert [row["way"] for row in json.loads(done.stdout)] == ["threads", "processes"]
    refused = taktline_in_process("bench", "capture", "file:none.avi")
    assert refused.returncode == 2
    assert "there is no video file none.avi" in refused.stderr.replace("\n", " ")


def test_a_source_that_gives_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.avi"
    broken.write_bytes(b"no video")
    with pytest.raises(TaktlineError, match="cannot be played"):
        measure_capture(CameraConfig(name="bench", source=f"file:{broken}"), cameras=2, seconds=0.1, rounds=1)


def test_a_source_that_only_one_camera_can_read(tmp_path: Path) -> None:
    config = CameraConfig(name="bench", source=f"feed:ipc://{tmp_path / 'feed'}")
    started = time.monotonic()
    with pytest.raises(TaktlineError, match="serves 2 readers at once"):
        measure_capture(config, cameras=2, seconds=0.1, rounds=1)
    assert time.monotonic() - started < 20
