"""`taktline camera check` on every kind of source that this machine has: its words and its exit code."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.bundle import open_bundle
from engines.image import Image, multiply, read_image
from pipeline.client.feed_sender import FeedSender
from tests.calibration.changes import moved
from tests.conftest import RunTaktline
from tests.pipeline.sources.live import start, stop

Change = Callable[[Image], Image]


def line_file(folder: Path, bundle: Path, source: str, **camera: object) -> Path:
    more = "".join(f"{name} = {json.dumps(value)}\n" for name, value in camera.items())
    path = folder / "line.toml"
    path.write_text(f'[model]\nbundle = "{bundle}"\n[[camera]]\nname = "top"\nsource = "{source}"\n{more}')
    return path


def pictures(drawn: Path, folder: Path, change: Change, count: int = 5) -> Path:
    folder.mkdir(exist_ok=True)
    for path in sorted((drawn / "test" / "good").iterdir())[:count]:
        image = cv2.resize(read_image(path), (400, 400), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / path.name), change(np.asarray(image, np.uint8)))
    return folder


def blurred(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 12), np.uint8)


@pytest.mark.parametrize(
    ("change", "words", "remedy"),
    [
        (lambda image: image, "as at calibration", None),
        (lambda image: multiply(image, (0.75, 0.75, 0.75)), "darker by 2", "adapt"),
        (lambda image: moved(-0.05, 0.0)(image, 1.0), "px to the left", "fixture"),
        (blurred, "blurred: fine detail weaker", "focus"),
    ],
)
def test_it_says_in_words_what_is_off(
    change: Change, words: str, remedy: str | None, drawn: Path, small_bundle_path: Path, tmp_path: Path,
    taktline_in_process: RunTaktline,
) -> None:  # fmt: skip
    folder = pictures(drawn, tmp_path / "seen", change)
    line = line_file(tmp_path, small_bundle_path, f"folder:{folder}")
    report = tmp_path / "report.html"
    done = taktline_in_process("camera", "check", line, "--pictures", 5, "--report", report)
    assert done.returncode == (0 if remedy is None else 1), done.stdout + done.stderr
    assert words in done.stdout
    assert (remedy or "") in done.stdout
    page = report.read_text()
    assert words in page
    # Both pictures are in it, and nothing comes from elsewhere.
    assert page.count("data:image/jpeg;base64,") == 2
    assert "http" not in page
    values = json.loads(taktline_in_process("camera", "check", line, "--pictures", 5, "--json").stdout)
    (camera,) = values["cameras"]
    assert camera["good"] == (remedy is None)
    assert camera["pictures"] == 5
    assert values["bundle"] == open_bundle(small_bundle_path).short_id


@pytest.mark.parametrize("rotate", [0, 90])
def test_a_camera_that_the_line_crops_and_turns_is_checked_as_the_line_sees_it(
    rotate: int, drawn: Path, small_bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    """A margin around the part, and the part lying on its side: the line file puts both right."""

    def on_the_side(image: Image) -> Image:
        turned = np.rot90(image, rotate // 90)
        return np.pad(turned, ((10, 30), (20, 0), (0, 0)))

    folder = pictures(drawn, tmp_path / "seen", on_the_side)
    line = line_file(tmp_path, small_bundle_path, f"folder:{folder}", roi=[20, 10, 400, 400], rotate=rotate)
    done = taktline_in_process("camera", "check", line, "--pictures", 5)
    assert done.returncode == 0, done.stdout


def test_a_replay_and_a_video_are_looked_through(
    drawn: Path, small_bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    line = line_file(tmp_path, small_bundle_path, f"replay:{drawn}", fps=1)
    values = json.loads(taktline_in_process("camera", "check", line, "--pictures", 3, "--json").stdout)
    assert values["cameras"][0]["pictures"] == 3
    pytest.importorskip("av")
    video = tmp_path / "part.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for _ in range(5):
        writer.write(np.full((120, 160, 3), 20, np.uint8))
    writer.release()
    done = taktline_in_process("camera", "check", line_file(tmp_path, small_bundle_path, f"file:{video}"))
    assert done.returncode == 1
    assert "darker by" in done.stdout


@pytest.mark.usefixtures("no_thread_left")
def test_a_network_camera_is_looked_through(
    small_bundle_path: Path, tmp_path: Path, endpoint: str, taktline_in_process: RunTaktline
) -> None:
    pytest.importorskip("av")
    port = int(endpoint.rpartition(":")[2])
    peer = start(sys.executable, "-m", "tests.peers.mjpeg_server", port, 1000)
    try:
        line = line_file(tmp_path, small_bundle_path, f"http://127.0.0.1:{port}/")
        done = taktline_in_process("camera", "check", line)
        assert done.returncode == 1
        assert "lower in contrast" in done.stdout
    finally:
        stop(peer)
    done = taktline_in_process("camera", "check", line, "--timeout", 1)
    assert done.returncode == 1
    assert "top cannot be checked: it cannot be opened" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_another_program_feeds_it(
    drawn: Path, small_bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    address = f"ipc://{tmp_path}/feed"
    line = line_file(tmp_path, small_bundle_path, f"feed:{address}")
    images = [read_image(path) for path in sorted((drawn / "test" / "good").iterdir())[:3]]

    def send() -> None:
        with FeedSender(address) as sender:
            for image in images:
                sender.send(image, timeout=30)
            time.sleep(0.5)

    sending = threading.Thread(target=send)
    sending.start()
    done = taktline_in_process("camera", "check", line)
    sending.join()
    assert done.returncode == 0, done.stdout + done.stderr
    # Nobody sends: it does not wait forever.
    done = taktline_in_process("camera", "check", line, "--timeout", 0.5)
    assert done.returncode == 1
    assert "it gave no picture within 0.5 s" in done.stdout


def test_a_bundle_of_an_older_taktline_and_an_unknown_camera_are_refused(
    drawn: Path, small_bundle_path: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    older = tmp_path / "older"
    older.mkdir()
    for path in small_bundle_path.iterdir():
        if path.name not in {"manifest.json", "good.png", "good.template.png"}:
            os.link(path, older / path.name)
    values = json.loads((small_bundle_path / "manifest.json").read_text())
    values["looks"] = None
    values["files"] = {name: digest for name, digest in values["files"].items() if not name.startswith("good.")}
    (older / "manifest.json").write_text(json.dumps(values))
    folder = pictures(drawn, tmp_path / "seen", lambda image: image, 1)
    done = taktline_in_process("camera", "check", line_file(tmp_path, older, f"folder:{folder}"))
    assert done.returncode == 2
    assert "does not know what good parts look like" in done.stderr
    line = line_file(tmp_path, small_bundle_path, f"folder:{folder}")
    done = taktline_in_process("camera", "check", line, "--camera", "side")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no camera 'side'; it has top" in done.stderr
    shutil.rmtree(folder)
    done = taktline_in_process("camera", "check", line)
    assert done.returncode == 1
    assert "top cannot be checked" in done.stdout
