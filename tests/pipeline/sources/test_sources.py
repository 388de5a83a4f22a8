"""Sources yield every picture once, whole or not, in order."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import ConfigError, DataError
from pipeline.config.camera import CameraConfig
from pipeline.flow.frame import Frame
from pipeline.sources import open_source
from pipeline.sources.folder import FolderSource
from pipeline.sources.replay import ReplaySource
from pipeline.sources.source import Pacer


def collect(source: FolderSource | ReplaySource) -> list[Frame]:
    return list(source.frames(threading.Event()))


def test_a_replay_is_shuffled_by_its_seed_and_carries_labels(drawn: Path) -> None:
    orders = [[frame.part for frame in collect(ReplaySource("c", drawn, None, seed))] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(map(str, orders[0])) == sorted(map(str, orders[2]))
    frames = collect(ReplaySource("c", drawn))
    assert [frame.sequence for frame in frames] == list(range(18))
    for frame in frames:
        assert frame.part is not None
        assert frame.label == frame.part.split("/")[0]


def test_a_replay_keeps_its_rate(drawn: Path) -> None:
    """No frame comes before its moment."""
    started = time.monotonic()
    for index, _ in enumerate(ReplaySource("c", drawn, 100.0).frames(threading.Event())):
        assert time.monotonic() - started >= index / 100 - 0.001


def test_a_pacer_that_fell_behind_does_not_hurry() -> None:
    pacer, stop = Pacer(50.0), threading.Event()
    assert pacer.wait(stop)
    time.sleep(0.2)
    moments = []
    for _ in range(3):
        pacer.wait(stop)
        moments.append(time.monotonic())
    assert moments[2] - moments[0] >= 0.039
    stop.set()
    assert not pacer.wait(stop)


def test_a_folder_yields_pictures_by_name_and_marks_broken_ones(tmp_path: Path) -> None:
    for name, shape in (("b.png", (20, 30, 3)), ("a.jpg", (8, 8)), ("d.bmp", (5, 9, 3))):
        cv2.imwrite(str(tmp_path / name), np.full(shape, 9, np.uint8))
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes()[:40])
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    frames = collect(FolderSource("c", tmp_path))
    assert [frame.part for frame in frames] == ["a.jpg", "b.png", "c.png", "d.bmp"]
    assert all(frame.image is None for frame in frames), "decoded only when their turn comes"
    for index in (0, 1, 3):
        frames[index].decode()
    assert [frame.image.shape for frame in frames if frame.image is not None] == [(8, 8), (20, 30, 3), (5, 9, 3)]
    with pytest.raises(DataError, match=r"^c\.png is cut short"):
        frames[2].decode()


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


def test_a_followed_folder_waits_until_a_file_is_whole(drawn: Path, tmp_path: Path) -> None:
    """Another process writes each picture in halves, with a pause longer than a file must stand still."""
    picture = drawn / "train" / "good" / "000.png"
    folder = tmp_path / "inbox"
    folder.mkdir()
    stop = threading.Event()
    frames: list[Frame] = []
    with subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(picture)]) as writer:
        for frame in FolderSource("c", folder, follow=True).frames(stop):
            frames.append(frame)
            if len(frames) == 3:
                stop.set()
        assert writer.wait(10) == 0
    assert [frame.part for frame in frames] == ["0.png", "1.png", "2.png"]
    for frame in frames:
        frame.decode()
        assert frame.image is not None


def test_following_can_be_stopped(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    assert list(FolderSource("c", tmp_path, follow=True).frames(stop)) == []


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        FolderSource("c", tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        FolderSource("c", tmp_path / "none", follow=True)
    with pytest.raises(ConfigError, match="no known kind"):
        open_source(CameraConfig(name="c", source="carrier-pigeon:7"))
