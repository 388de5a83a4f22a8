"""Video files: read to their end, and refused where they hold no video."""

from __future__ import annotations

import itertools
import logging
import threading
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import DataError
from pipeline.config.camera import CameraConfig
from pipeline.config.line_file import check_config
from pipeline.line.build import build_line
from pipeline.sources import open_source
from tests.pipeline.sources.live import line_config


@pytest.mark.usefixtures("no_thread_left")
def test_a_video_file_is_inspected_to_its_end(bundle_path: Path, video: Path) -> None:
    values = line_config(bundle_path, f"file:{video}")
    with build_line(check_config(values, "test"), watched=True) as line:
        line.start()
        verdicts = [decided.verdict for decided in line.decided()]
    assert [verdict.sequence for verdict in verdicts] == list(range(50))
    assert {verdict.reason for verdict in verdicts} == {None}


def test_pictures_are_cut_turned_and_timed(video: Path) -> None:
    config = CameraConfig(name="top", source=f"file:{video}", roi=(10, 20, 60, 40), rotate=90)
    frames = list(open_source(config).frames(threading.Event()))
    assert len(frames) == 50
    levels = []
    for frame in frames:
        frame.decode()
        assert frame.image is not None
        assert frame.image.shape == (60, 40, 3)
        levels.append(float(frame.image.mean()))
    assert levels == pytest.approx([20 + 4 * number for number in range(50)], abs=3)
    assert all(later.captured > earlier.captured for earlier, later in itertools.pairwise(frames))


def test_a_black_picture_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "black.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for _ in range(60):
        writer.write(np.zeros((120, 160, 3), np.uint8))
    writer.release()
    with caplog.at_level(logging.WARNING):
        frames = list(open_source(CameraConfig(name="top", source=f"file:{path}")).frames(threading.Event()))
    assert len(frames) == 60
    assert caplog.text.count("its picture is black") == 1


@pytest.mark.parametrize("name", ["notes.txt", "notes.avi", "sound.wav"])
def test_what_is_no_video_is_refused(tmp_path: Path, name: str) -> None:
    """FFmpeg would show a text file as pictures of a terminal."""
    path = tmp_path / name
    if name == "sound.wav":
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", "not compressed"))
            sound.writeframes(bytes(16000))
    else:
        path.write_text("These are notes, not pictures.\n" * 100)
    with pytest.raises(DataError, match="cannot be played"):
        open_source(CameraConfig(name="top", source=f"file:{path}"))
