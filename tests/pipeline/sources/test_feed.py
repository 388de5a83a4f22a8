"""Frames from another program: each message is one frame, whole or answered as corrupt."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgpack
import numpy as np
import pytest
import zmq

from engines.errors import ConfigError, DataError, TaktlineError
from pipeline.client.feed_sender import FeedSender
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.camera import CameraConfig
from pipeline.config.line_file import check_camera
from pipeline.flow.frame import Frame
from pipeline.line.build import build_line
from pipeline.sources import open_source
from pipeline.sources.feed import FeedSource
from tests.paths import ROOT
from tests.pipeline.line.test_line import config

PICTURE = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"ipc://{tmp_path / 'feed'}"


class Taking:
    """Takes frames from a feed, one when asked, in the test's own thread."""

    def __init__(self, address: str) -> None:
        self._stop = threading.Event()
        self._frames: Iterator[Frame] = FeedSource("c", address).frames(self._stop)

    def take(self, count: int) -> list[Frame]:
        return list(itertools.islice(self._frames, count))

    def rest(self) -> list[Frame]:
        self._stop.set()
        return list(self._frames)


def test_pictures_come_as_they_were_sent(address: str) -> None:
    taking = Taking(address)
    encoded = cv2.imencode(".png", PICTURE)[1].tobytes()
    moment = time.monotonic_ns() - 5_000_000
    with FeedSender(address) as sender:
        sender.send(PICTURE, "a", moment)
        sender.send(PICTURE[..., 0], "b", moment - 1_000_000)
        sender.send(encoded, "c")
        sender.send(PICTURE, None, time.monotonic_ns() + 10**12)
        frames = taking.take(4)
    assert [frame.part for frame in frames] == ["a", "b", "c", None]
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3]
    assert frames[2].image is None, "decoded only when its turn comes"
    frames[2].decode()
    for frame, expected in zip(frames, (PICTURE, PICTURE[..., 0], PICTURE, PICTURE), strict=True):
        assert frame.image is not None
        assert np.array_equal(frame.image, expected)
    moments = [frame.captured for frame in frames]
    assert moments[:2] == [moment, moment], "captures of one camera go forward"
    assert moments == sorted(moments)
    assert moments[-1] <= time.monotonic_ns(), "nothing is captured in the future"
    assert abs(frames[0].captured_at - time.time_ns()) < 60e9
    assert taking.rest() == []


def test_what_cannot_be_read_is_a_corrupt_part(address: str) -> None:
    taking = Taking(address)
    good = msgpack.packb({"v": 1, "part": "p", "shape": [20, 30, 3]})
    messages = [
        [good],
        [good, PICTURE.tobytes(), b""],
        [good, PICTURE.tobytes()[:-1]],
        [b"", PICTURE.tobytes()],
        [b"\xc1", PICTURE.tobytes()],
        [b"\x80" * 5000, b""],
        [msgpack.packb({"v": 2}), b""],
        [msgpack.packb({"part": "p"}), b""],
        [msgpack.packb({"v": 1, "shape": [0, 30, 3]}), b""],
        [msgpack.packb({"v": 1, "shape": [1 << 40, 1 << 40, 3]}), b""],
        [msgpack.packb({"v": 1, "shape": [20, 30, 4]}), bytes(2400)],
        [msgpack.packb({"v": 1, "part": "p" * 257}), b""],
        [msgpack.packb({"v": 1, "captured": -1}), b""],
        [msgpack.packb({"v": 1, "captured": "now"}), b""],
        [msgpack.packb({"v": 1, "hello": 1}), b""],
        [msgpack.packb([1, 2, 3, 4]), b""],
    ]
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(address)
    for message in messages:
        socket.send_multipart(message)
        frame = taking.take(1)[0]
        assert frame.image is None and frame.encoded is None, message
        assert frame.fault is not None and frame.fault.startswith("a message has"), message
    socket.send_multipart([msgpack.packb({"v": 1, "part": "p"}), b"no picture"])
    frame = taking.take(1)[0]
    with pytest.raises(DataError, match="not a picture"):
        frame.decode()
    assert frame.sequence == len(messages)
    socket.close()
    context.term()
    taking.rest()


def test_what_had_come_before_the_end_is_taken(address: str) -> None:
    taking = Taking(address)
    with FeedSender(address) as sender:
        sender.send(PICTURE, "first")
        taking.take(1)
        for name in "abc":
            sender.send(PICTURE, name)
        time.sleep(0.5)
        assert [frame.part for frame in taking.rest()] == ["a", "b", "c"]


def test_a_sender_that_waits_for_the_line_loses_nothing(address: str) -> None:
    """It sent before the line was there, and its frames come while the line's engine still loads."""
    with FeedSender(address) as sender:
        for name in "abc":
            sender.send(PICTURE, name)
        source = FeedSource("c", address)
        time.sleep(0.5)
        assert [frame.part for frame in itertools.islice(source.frames(threading.Event()), 3)] == ["a", "b", "c"]
        source.close()


def test_addresses_that_will_not_do_are_refused(address: str, endpoint: str) -> None:
    for source in ("feed:tcp://0.0.0.0:5600", "feed:tcp://*:5600"):
        with pytest.raises(ConfigError, match="is not on this machine"):
            open_source(CameraConfig(name="c", source=source))
    for source in ("feed:udp://127.0.0.1:5", "feed:"):
        with pytest.raises(ConfigError, match="must start with tcp:// or ipc://"):
            check_camera({"name": "c", "source": source}, "test")
    with pytest.raises(ConfigError, match="cannot be bound"):
        FeedSource("c", "ipc:///none/such/folder/feed")
    for taken in (address, endpoint):
        taking = Taking(taken)
        with FeedSender(taken) as sender:
            sender.send(PICTURE)
            taking.take(1)
            with pytest.raises(ConfigError, match="in use"):
                FeedSource("d", taken)
        taking.rest()
        FeedSource("e", taken).close()


def test_a_sender_without_a_line_is_told(address: str) -> None:
    with FeedSender(address) as sender, pytest.raises(TaktlineError, match="is it running"):
        for _ in range(1000):
            sender.send(PICTURE, timeout=0.05)
    with pytest.raises(ConfigError, match=r"not an address to connect to .*; give one like ipc://PATH"):
        FeedSender("carrier-pigeon")


PROGRAM = """
import sys, time
import numpy as np
from pipeline.client.feed_sender import FeedSender
with FeedSender(sys.argv[1]) as sender:
    for number in range(12):
        picture = np.full((480, 640, 3), number * 20, np.uint8)
        sender.send(b"broken" if number == 5 else picture, f"part-{number}", time.monotonic_ns())
"""


@pytest.mark.usefixtures("no_thread_left")
def test_a_line_inspects_what_another_program_sends(bundle_path: Path, address: str, endpoint: str) -> None:
    settings = config(
        bundle_path, f"feed:{address}", endpoint,
        camera=[{"name": "top", "source": f"feed:{address}", "on_overload": "block"}],  # type: ignore[arg-type]
    )  # fmt: skip
    with build_line(settings) as line, VerdictSubscriber(endpoint) as subscriber:
        line.start()
        subprocess.run([sys.executable, "-c", PROGRAM, address], cwd=ROOT, check=True, timeout=60)
        verdicts = [subscriber.receive(60)[0] for _ in range(12)]
        line.drain()
        assert line.wait(30)
    assert [verdict.part for verdict in verdicts] == [f"part-{number}" for number in range(12)]
    reasons = [verdict.reason for verdict in verdicts]
    assert reasons == [None] * 5 + ["corrupt"] + [None] * 6
