"""Live cameras over real sockets: killed, restarted, frozen; and every frame that came has one verdict, in order."""

from __future__ import annotations

import itertools
import logging
import re
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import ConfigError, DataError
from pipeline.config.camera import CameraConfig
from pipeline.config.line_file import check_config
from pipeline.line.build import build_line
from pipeline.line.line import Line
from pipeline.protocol.verdict import Verdict
from pipeline.sources import open_source
from pipeline.sources.camera import arrange
from pipeline.sources.device import redact
from tests.conftest import ROOT
from tests.pipeline.sources.test_sources import WRITER

SYSTEM_PYTHON = Path("/usr/bin/python3")
PEERS = ROOT / "tests" / "peers"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 50 pictures that grow brighter."""
    path = tmp_path_factory.mktemp("video") / "part.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    for number in range(50):
        writer.write(np.full((120, 160, 3), 20 + 4 * number, np.uint8))
    writer.release()
    return path


def start(*command: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def stop(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.fixture
def port(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def line_config(bundle: Path, source: str, **camera: object) -> dict[str, object]:
    return {
        "line": {"takt_ms": 5000},
        "model": {"bundle": str(bundle), "precision": "f32", "max_batch": 2},
        "camera": [{"name": "top", "source": source, "silence_ms": 700, **camera}],
        "publish": {"verdicts": "tcp://127.0.0.1:*"},
    }


class Answers:
    """What a running line has answered so far."""

    def __init__(self, line: Line) -> None:
        self.verdicts: list[Verdict] = []
        self._reader = threading.Thread(target=self._read, args=(line,))
        self._reader.start()

    def _read(self, line: Line) -> None:
        for decided in line.decided():
            self.verdicts.append(decided.verdict)

    def await_more(self, count: int) -> None:
        self.await_in_all(len(self.verdicts) + count)

    def await_in_all(self, wanted: int) -> None:
        deadline = time.monotonic() + 60
        while len(self.verdicts) < wanted:
            assert time.monotonic() < deadline, f"{len(self.verdicts)} of {wanted} verdicts came"
            time.sleep(0.05)

    def join(self) -> None:
        self._reader.join(30)


@contextmanager
def running(values: dict[str, object]) -> Iterator[tuple[Line, Answers]]:
    """Runs a line; in the end every frame that its camera gave must have one answer, in order."""
    with build_line(check_config(values, "test"), watched=True) as line:
        line.start()
        answers = Answers(line)
        try:
            yield line, answers
        finally:
            line.drain()
            assert line.wait(30)
            answers.join()
        sequences = [verdict.sequence for verdict in answers.verdicts]
        assert sequences == list(range(line.status()["cameras"]["top"]["frames"]))


@pytest.mark.usefixtures("no_thread_left")
def test_a_video_file_is_inspected_to_its_end(bundle_path: Path, video: Path) -> None:
    values = line_config(bundle_path, f"file:{video}")
    with build_line(check_config(values, "test"), watched=True) as line:
        line.start()
        verdicts = [decided.verdict for decided in line.decided()]
    assert [verdict.sequence for verdict in verdicts] == list(range(50))
    assert all(verdict.reason is None for verdict in verdicts)


def test_pictures_are_cut_turned_and_timed(video: Path) -> None:
    config = CameraConfig(name="top", source=f"file:{video}", roi=(10, 20, 60, 40), rotate=90)
    frames = list(open_source(config).frames(threading.Event()))
    assert len(frames) == 50
    levels = []
    for frame in frames:
        assert frame.image is not None
        assert frame.image.shape == (60, 40, 3)
        levels.append(float(frame.image.mean()))
    assert levels == pytest.approx([20 + 4 * number for number in range(50)], abs=3)
    assert all(later.captured > earlier.captured for earlier, later in itertools.pairwise(frames))


def test_turning_is_clockwise() -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[0, 0] = 255
    assert arrange(picture, None, 90)[0, 19].all()
    assert arrange(picture, None, 180)[19, 29].all()
    assert arrange(picture, None, 270)[29, 0].all()


@pytest.mark.parametrize("kind", ["http", "rtsp"])
def test_a_camera_that_dies_is_opened_again(
    kind: str, bundle_path: Path, video: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    serve = SERVERS[kind](video, port)
    address = {"http": f"http://127.0.0.1:{port}/", "rtsp": f"rtsp://127.0.0.1:{port}/part"}[kind]
    server = serve()
    try:
        with running(line_config(bundle_path, address)) as (_, answers):
            answers.await_more(10)
            stop(server)
            time.sleep(1.5)
            before = len(answers.verdicts)
            server = serve()
            answers.await_more(10)
    finally:
        stop(server)
    assert before < len(answers.verdicts)
    assert "opening it again" in caplog.text


def http_server(_video: Path, port: int) -> Callable[[], subprocess.Popen[str]]:
    return lambda: start(sys.executable, PEERS / "mjpeg_server.py", port, 1_000_000)


def rtsp_server(video: Path, port: int) -> Callable[[], subprocess.Popen[str]]:
    probe = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if (
        not SYSTEM_PYTHON.exists()
        or subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode
    ):
        pytest.skip(
            "no RTSP server; install it with: apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good "
            "python3-gi"
        )
    return lambda: start(SYSTEM_PYTHON, PEERS / "rtsp_server.py", video, port)


SERVERS = {"http": http_server, "rtsp": rtsp_server}


def test_a_camera_that_freezes_is_given_up_and_opened_again(
    bundle_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The server goes silent after five pictures of every connection, and leaves it open."""
    server = start(sys.executable, PEERS / "mjpeg_server.py", port, 5)
    try:
        with running(line_config(bundle_path, f"http://127.0.0.1:{port}/")) as (_, answers):
            answers.await_more(13)
    finally:
        stop(server)
    assert "opening it again" in caplog.text


def test_pictures_asked_for_by_message(bundle_path: Path, port: int) -> None:
    """A camera that runs free gives one frame for each trigger, with its part, and none without."""
    server = start(sys.executable, PEERS / "mjpeg_server.py", port, 1_000_000)
    try:
        with running(line_config(bundle_path, f"http://127.0.0.1:{port}/", trigger="software")) as (line, answers):
            while not line.status()["ready"]:
                time.sleep(0.05)
            # Longer than its silence: nobody asked for anything.
            time.sleep(1.5)
            assert answers.verdicts == []
            for number in range(5):
                line.orders.trigger("top", f"P{number}")
            answers.await_in_all(5)
    finally:
        stop(server)
    assert [verdict.part for verdict in answers.verdicts] == [f"P{number}" for number in range(5)]
    assert {verdict.reason for verdict in answers.verdicts} == {None}


def test_a_camera_that_stays_black_is_opened_again_and_goes_on(
    bundle_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(sys.executable, PEERS / "mjpeg_server.py", port, 1_000_000, "black")
    try:
        with running(line_config(bundle_path, f"http://127.0.0.1:{port}/")) as (line, answers):
            answers.await_more(60)
            assert not line.status()["ready"]
    finally:
        stop(server)
    assert "opening it again in 0.0 s" in caplog.text
    assert "its picture is black" in caplog.text


def test_a_camera_that_is_not_there_disturbs_no_other(
    bundle_path: Path, drawn: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    values = line_config(bundle_path, f"rtsp://operator:secret@127.0.0.1:{port}/part")
    values["camera"] = [*values["camera"], {"name": "good", "source": f"replay:{drawn}"}]  # type: ignore[misc]
    with build_line(check_config(values, "test"), watched=True) as line:
        line.start()
        found = [next(line.decided()).verdict for _ in range(18)]
        line.drain()
    assert [verdict.sequence for verdict in found] == list(range(18))
    assert {verdict.camera for verdict in found} == {"good"}
    assert "opening it again" in caplog.text
    assert "operator:***@" in caplog.text
    assert "secret" not in caplog.text


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


def test_what_cannot_be_a_camera_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no video file"):
        open_source(CameraConfig(name="top", source=f"file:{tmp_path}/none.avi"))
    with pytest.raises(ConfigError, match=r"operator:\*\*\*@cam") as refused:
        open_source(CameraConfig(name="top", source="ftp://operator:secret@cam/part"))
    assert "secret" not in str(refused.value)
    assert redact("rtsp://cam/part") == "rtsp://cam/part"
    with pytest.raises(ConfigError, match="roi"):
        check_config(line_config(tmp_path, "usb:0", roi=[0, 0, 4, 4]), "test")


def test_a_folder_written_in_halves_has_a_verdict_for_each_picture(
    bundle_path: Path, drawn: Path, tmp_path: Path
) -> None:
    values = line_config(bundle_path, f"folder:{tmp_path}", follow=True)
    with running(values) as (_, answers):
        picture = drawn / "train" / "good" / "000.png"
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(picture)]) as writer:
            assert writer.wait(30) == 0
        answers.await_in_all(3)
    assert [verdict.part for verdict in answers.verdicts] == ["0.png", "1.png", "2.png"]
    assert {verdict.reason for verdict in answers.verdicts} == {None}


def test_the_documented_cameras_are_a_line_file() -> None:
    text = (ROOT / "docs" / "cameras.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    cameras = [camera for block in blocks for camera in tomllib.loads(block)["camera"]]
    assert len(cameras) >= 8
    checked = check_config({"model": {"bundle": "x"}, "camera": cameras}, "docs/cameras.md")
    kinds = {camera.source.partition(":")[0] for camera in checked.camera}
    assert {"rtsp", "http", "gige", "usb", "file", "folder", "replay"} <= kinds


@pytest.mark.skipif(not any(Path("/dev").glob("video*")), reason="needs a USB camera")
def test_a_usb_camera_gives_pictures() -> None:
    over = threading.Event()
    frame = next(iter(open_source(CameraConfig(name="top", source="usb:0")).frames(over)))
    over.set()
    assert frame.image is not None
    assert frame.image.ndim == 3
