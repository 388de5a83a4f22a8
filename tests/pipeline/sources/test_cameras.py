"""Live cameras over real sockets: killed, restarted, frozen; and every frame that came has one verdict, in order."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.camera import CameraConfig
from pipeline.config.line_file import check_config
from pipeline.line.build import build_line
from pipeline.sources import open_source
from tests.paths import ROOT
from tests.pipeline.sources.live import PEERS, line_config, running, start, stop

SYSTEM_PYTHON = Path("/usr/bin/python3")


@pytest.mark.parametrize("kind", ["http", "rtsp"])
def test_a_camera_that_dies_is_opened_again(
    kind: str, bundle_path: Path, video: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    serve = SERVERS[kind](video, port)
    address = {"http": f"http://127.0.0.1:{port}/", "rtsp": f"rtsp://127.0.0.1:{port}/part"}[kind]
    server = serve()
    try:
        with running(line_config(bundle_path, address)) as (line, answers):
            answers.await_in_all(10)
            stop(server)
            deadline = time.monotonic() + 30
            while "reopening it" not in caplog.text:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert not line.status()["ready"]
            before = line.status()["cameras"]["top"]["frames"]
            answers.await_in_all(before)
            server = serve()
            answers.await_in_all(before + 10)
    finally:
        stop(server)


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
    assert "reopening it" in caplog.text


def test_a_camera_that_stays_black_is_opened_again_and_goes_on(
    bundle_path: Path, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(sys.executable, PEERS / "mjpeg_server.py", port, 1_000_000, "black")
    try:
        with running(line_config(bundle_path, f"http://127.0.0.1:{port}/")) as (line, answers):
            answers.await_more(26)
            assert not line.status()["ready"]
            deadline = time.monotonic() + 30
            while "reopening it in 0.0 s" not in caplog.text:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            answers.await_more(1)
    finally:
        stop(server)
    assert "reopening it in 0.0 s" in caplog.text
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
    assert "reopening it" in caplog.text
    assert "operator:***@" in caplog.text
    assert "secret" not in caplog.text


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
