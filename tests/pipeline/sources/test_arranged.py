"""Every kind of source takes `roi` and `rotate`, and a region outside of the picture takes no line down."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.client.feed_sender import FeedSender
from pipeline.config.camera import CameraConfig
from pipeline.flow.arrangement import Arrangement
from pipeline.flow.frame import Frame
from pipeline.sources import open_source
from tests.pipeline.sources.live import PEERS, line_config, running, start, stop

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
ROI = (8, 4, 40, 32)
ARRANGED = np.rot90(PICTURE[4:36, 8:48], -1)


def first_frame(source: str, **settings: object) -> Frame:
    config = CameraConfig.model_validate({"name": "c", "source": source, "roi": ROI, "rotate": 90, **settings})
    stop = threading.Event()
    frames = open_source(config).frames(stop)
    frame = next(frames)
    stop.set()
    assert list(itertools.islice(frames, 8)) is not None
    return frame


def folder(tmp_path: Path, follow: bool = False) -> Frame:
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE)
    return first_frame(f"folder:{tmp_path}", follow=follow)


def replay(tmp_path: Path) -> Frame:
    for split in ("train", "test"):
        (tmp_path / split / "good").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / split / "good" / "a.png"), PICTURE)
    return first_frame(f"replay:{tmp_path}")


def feed(tmp_path: Path, encoded: bool = False) -> Frame:
    picture = cv2.imencode(".png", PICTURE)[1].tobytes() if encoded else PICTURE
    with FeedSender(f"ipc://{tmp_path}/feed") as sender:
        # The line comes later: its frame waits.
        sender.send(picture, "a")
        return first_frame(f"feed:ipc://{tmp_path}/feed")


@pytest.mark.parametrize(
    "give",
    [
        pytest.param(folder, id="folder"),
        pytest.param(lambda path: folder(path, follow=True), id="followed folder"),
        pytest.param(replay, id="replay"),
        pytest.param(feed, id="pixels of a feed"),
        pytest.param(lambda path: feed(path, encoded=True), id="file of a feed"),
    ],
)
def test_every_kind_of_source_cuts_and_turns(tmp_path: Path, give: Callable[[Path], Frame]) -> None:
    frame = give(tmp_path)
    frame.decode()
    assert frame.image is not None
    np.testing.assert_array_equal(frame.image, ARRANGED)
    frame.decode()
    np.testing.assert_array_equal(frame.image, ARRANGED, "decoding again arranges nothing again")


def test_turning_is_clockwise() -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[0, 0] = 255
    assert Arrangement(rotate=90).apply(picture)[0, 19].all()
    assert Arrangement(rotate=180).apply(picture)[19, 29].all()
    assert Arrangement(rotate=270).apply(picture)[29, 0].all()


def test_a_source_that_arranges_nothing_says_so(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE)
    assert open_source(CameraConfig(name="c", source=f"folder:{tmp_path}")).arrangement is None


@pytest.mark.parametrize("kind", ["camera", "folder"])
def test_a_region_outside_of_the_picture_is_told_and_the_line_goes_on(
    kind: str, bundle_path: Path, tmp_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pictures are 160 x 120; each frame is answered as corrupt, and the camera is not opened again."""
    cv2.imwrite(str(tmp_path / "0.png"), np.full((120, 160, 3), 90, np.uint8))
    server = start(sys.executable, PEERS / "mjpeg_server.py", port, 1_000_000) if kind == "camera" else None
    source = f"http://127.0.0.1:{port}/" if kind == "camera" else f"folder:{tmp_path}"
    try:
        values = line_config(bundle_path, source, roi=[100, 100, 64, 64], rotate=90, follow=True)
        with running(values) as (line, answers):
            answers.await_in_all(1)
            for number in range(1, 8):
                cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((120, 160, 3), 90, np.uint8))
            answers.await_in_all(8)
            told = str(line.status()["why_not"])
    finally:
        if server is not None:
            stop(server)
    words = "the roi [100, 100, 64, 64] (x, y, width, height) does not lie inside its picture of 160 x 120 pixels"
    assert words in told
    assert words in caplog.text
    assert {verdict.reason for verdict in answers.verdicts} == {"corrupt"}
    assert "reopening it" not in caplog.text
    assert "cv2.error" not in caplog.text
