"""GigE Vision over loopback, from Aravis' fake camera: free running, triggered, killed and started again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.errors import ConfigError, TaktlineError
from pipeline.client.orders import tell_line
from pipeline.config.camera import CameraConfig
from pipeline.config.line_file import check_config
from pipeline.flow.frame import Frame
from pipeline.protocol.orders import Order
from pipeline.sources import open_source
from pipeline.sources.device import CameraError
from pipeline.sources.gige import GigeDevice, frames_lost, import_aravis, to_picture
from pipeline.sources.source import Source
from tests.conftest import RunTaktline
from tests.pipeline.parts import until
from tests.pipeline.sources.live import line_config, running

FAKE = "arv-fake-gv-camera-0.8"
ADDRESS = "127.0.0.1"
_CONTROL_PORT = 3956


class FakeCamera:
    """Aravis' fake camera in a process of its own."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        # Aravis binds the camera's port without a word where it is taken.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((ADDRESS, _CONTROL_PORT))
        self._process = subprocess.Popen([FAKE, "-i", ADDRESS, "-s", "TL01"])

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@pytest.fixture
def fake_camera(gige_port: None) -> Iterator[FakeCamera]:
    if shutil.which(FAKE) is None:
        pytest.skip(
            "no GigE camera; install a fake one with: apt-get install aravis-tools gir1.2-aravis-0.8 python3-gi"
        )
    try:
        import_aravis()
    except TaktlineError as error:
        pytest.skip(str(error))
    camera = FakeCamera()
    yield camera
    camera.kill()


def take(source: Source, count: int) -> list[Frame]:
    over, frames = threading.Event(), []
    for frame in source.frames(over):
        frames.append(frame)
        if len(frames) == count:
            over.set()
    return frames


@pytest.mark.usefixtures("fake_camera")
def test_it_runs_free_with_its_settings_applied() -> None:
    config = CameraConfig(
        name="top", source=f"gige:{ADDRESS}", width=320, height=256, fps=20, exposure_us=5000, gain=2,
        part_from="frame-id",
    )  # fmt: skip
    frames = take(open_source(config), 12)
    for frame in frames:
        assert frame.image is not None
        assert frame.image.shape == (256, 320)
        assert frame.image.std() > 10
    numbers = [int(frame.part or "") for frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 12))
    seconds = (frames[-1].captured - frames[1].captured) / 1e9
    assert seconds == pytest.approx(10 / 20, rel=0.5)


@pytest.mark.usefixtures("fake_camera")
def test_a_wall_clock_that_is_set_moves_no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aravis stamps pictures by the wall clock, which is set forward, and later back, before the stamp is read."""
    now, over, moments = time.time_ns, threading.Event(), []
    for frame in open_source(CameraConfig(name="top", source=f"gige:{ADDRESS}", fps=25)).frames(over):
        moments.append(frame.captured)
        ahead = {5: 3600, 10: -3600}.get(len(moments), 0) * 10**9
        monkeypatch.setattr(time, "time_ns", lambda ahead=ahead: now() + ahead)
        if len(moments) == 15:
            over.set()
    assert moments == sorted(moments)
    assert moments[-1] <= time.monotonic_ns()
    assert moments[-1] - moments[0] < 60 * 10**9


@pytest.mark.usefixtures("fake_camera")
def test_one_that_was_opened_half_can_be_opened_again() -> None:
    """Though the error is kept, as the source does until the next attempt."""
    for wrong in ({"trigger": "Line1"}, {"pixel_format": "BayerXX8"}):
        with pytest.raises(CameraError) as caught:
            GigeDevice(CameraConfig(name="top", source=f"gige:{ADDRESS}", **wrong))  # type: ignore[arg-type]
        with GigeDevice(CameraConfig(name="top", source=f"gige:{ADDRESS}", fps=25)) as device:
            until(lambda: device.read() is not None)
        del caught


@pytest.mark.usefixtures("fake_camera")
@pytest.mark.parametrize("pixel_format", ["RGB8", "BayerRG8", "Mono16"])
def test_it_gives_other_pixel_formats(pixel_format: str) -> None:
    frame = take(open_source(CameraConfig(name="top", source=f"gige:{ADDRESS}", pixel_format=pixel_format)), 1)[0]
    assert frame.image is not None
    assert frame.image.shape == ((512, 512) if pixel_format == "Mono16" else (512, 512, 3))


@pytest.mark.usefixtures("no_thread_left")
def test_it_dies_and_is_opened_again(
    bundle_path: Path, fake_camera: FakeCamera, caplog: pytest.LogCaptureFixture
) -> None:
    with running(line_config(bundle_path, f"gige:{ADDRESS}", fps=10)) as (line, answers):
        answers.await_more(5)
        assert line.status()["ready"]
        fake_camera.kill()
        deadline = time.monotonic() + 30
        while line.status()["ready"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        fake_camera.start()
        answers.await_more(5)
    assert "reopening it" in caplog.text
    # Aravis takes its time to give up on the dead camera, in the thread that is left behind.
    until(lambda: not any(thread.name == "read top" for thread in threading.enumerate()))


def test_each_software_trigger_gives_its_part_a_verdict(
    bundle_path: Path, fake_camera: FakeCamera, taktline: RunTaktline
) -> None:
    values = line_config(bundle_path, f"gige:{ADDRESS}", trigger="software")
    values["control"] = {"bind": "tcp://127.0.0.1:*"}
    with running(values) as (line, answers):
        assert line.control is not None
        address = line.control.address
        deadline = time.monotonic() + 30
        while not line.status()["ready"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for number in range(3):
            tell_line(address, Order(do="trigger", camera="top", part=f"P{number}"))
            answers.await_in_all(number + 1)
        done = taktline("tell", address, "trigger", "top", "--part", "P3")
        assert done.returncode == 0, done.stderr
        answers.await_in_all(4)
        fake_camera.kill()
        # Nobody is there to take the picture, and the part is answered for all the same.
        tell_line(address, Order(do="trigger", camera="top", part="P4"))
        answers.await_in_all(5)
        with pytest.raises(TaktlineError, match="no camera 'side'; it has top"):
            tell_line(address, Order(do="trigger", camera="side"))
    assert [verdict.part for verdict in answers.verdicts] == [f"P{number}" for number in range(5)]
    assert [verdict.reason for verdict in answers.verdicts] == [None] * 4 + ["corrupt"]


@pytest.mark.usefixtures("no_thread_left")
def test_one_that_waits_for_a_trigger_is_missed_when_it_is_gone(fake_camera: FakeCamera) -> None:
    """No picture is due, so that only the camera's own heartbeat tells."""
    source = open_source(CameraConfig(name="top", source=f"gige:{ADDRESS}", trigger="software"))
    over = threading.Event()
    reading = threading.Thread(target=lambda: list(source.frames(over)))
    reading.start()
    try:
        until(lambda: source.trouble is None)
        fake_camera.kill()
        until(lambda: source.trouble is not None)
        assert source.trouble is not None and "it no longer answers" in source.trouble
    finally:
        over.set()
        reading.join(30)
    until(lambda: not any(thread.name == "read top" for thread in threading.enumerate()))


def test_a_trigger_before_the_last_picture_is_answered_but_not_taken() -> None:
    """The camera is not there: the first trigger waits for it, the second must not go by the first one's picture."""
    source = open_source(CameraConfig(name="top", source="gige:127.0.0.9", trigger="software"))
    source.trigger("first")
    source.trigger("second")
    frames = take(source, 2)
    assert {frame.part for frame in frames} == {"first", "second"}
    assert all(frame.image is None and frame.fault for frame in frames)


def test_frames_lost_are_counted_by_the_cameras_own_count() -> None:
    assert frames_lost(7, 8) == 0
    assert frames_lost(7, 10) == 2
    assert frames_lost(65_535, 1) == 0
    assert frames_lost(65_534, 2) == 2
    assert frames_lost(2**40, 1) == 0
    assert frames_lost(500, 1) == 0


def test_pixels_become_gray_or_bgr() -> None:
    grey = np.arange(12, dtype=np.uint8)
    assert (to_picture(grey, (3, 4), "Mono8") == grey.reshape(3, 4)).all()
    wide = (grey.astype("<u2") * 16 + 15).view(np.uint8)
    assert (to_picture(wide, (3, 4), "Mono12") == grey.reshape(3, 4)).all()
    red = np.tile(np.array([255, 0, 0], np.uint8), 4)
    assert (to_picture(red, (2, 2), "RGB8") == (0, 0, 255)).all()
    assert (to_picture(red, (2, 2), "BGR8") == (255, 0, 0)).all()
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[::2, ::2] = 200
    assert (to_picture(mosaic.ravel(), (8, 8), "BayerRG8")[2:6, 2:6].max((0, 1)) == (0, 0, 200)).all()
    assert (to_picture(mosaic.ravel(), (8, 8), "BayerBG8")[2:6, 2:6].max((0, 1)) == (200, 0, 0)).all()
    with pytest.raises(ValueError, match="of 24 bytes arrived"):
        to_picture(grey, (3, 4), "Mono12")
    with pytest.raises(ValueError, match="is unknown"):
        to_picture(grey, (3, 4), "Mono12Packed")


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ({"source": "usb:0", "gain": 3}, "gain is for GigE cameras"),
        ({"source": "rtsp://cam/1", "trigger": "Line0"}, "a trigger from Line0 is for GigE cameras"),
        ({"source": "folder:x", "trigger": "software"}, "trigger is for live cameras only"),
        ({"source": "gige:1", "part_from": "serial"}, "part_from"),
    ],
)
def test_settings_that_a_camera_cannot_have_are_refused(camera: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        check_config(line_config(tmp_path, **camera), "test")  # type: ignore[arg-type]
