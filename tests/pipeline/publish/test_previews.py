"""Previews over real sockets: small, as many as asked for, and never in a verdict's way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest

from engines.errors import ConfigError
from engines.image import Image
from pipeline.client.previews import AsyncPreviewSubscriber, PreviewSubscriber
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.line_file import check_config
from pipeline.flow.channel import Channel
from pipeline.flow.decided import Decided
from pipeline.line.build import build_line
from pipeline.protocol.preview import Preview, pack_preview, unpack_preview
from pipeline.protocol.verdict import Outcome, VersionError, WireError
from pipeline.publish.metrics import LineMetrics
from pipeline.publish.previews import PreviewMaker, make_preview
from pipeline.publish.publisher import Publisher, PublisherSocket
from pipeline.security.curve import THIS_MACHINE, Access
from tests.pipeline.line.test_line import config
from tests.pipeline.parts import decide, until
from tests.pipeline.security.conftest import House

BIG = np.full((480, 640, 3), 90, np.uint8)


def frame(camera: str, sequence: int, outcome: Outcome = "ok", image: Image | None = BIG) -> Decided:
    decided = decide(camera, sequence, outcome)
    decided.frame.image = image
    decided.frame.captured = time.monotonic_ns()
    return decided


class Publishing:
    """A publisher with previews: frames go in by hand."""

    def __init__(self, socket: PublisherSocket, rate: float) -> None:
        self.socket, self.inbox = socket, Channel[Decided](1000)
        self.maker = PreviewMaker(rate, lambda: socket.wants_previews)
        self.failures: list[str] = []
        publisher = Publisher(socket, self.inbox, None, LineMetrics(["a", "a2", "b"]), previews=self.maker)
        self._stages = [publisher, self.maker]
        for stage in self._stages:
            stage.start(lambda name, error: self.failures.append(f"{name}: {error}"))

    def close(self) -> None:
        self.inbox.close()
        assert all(stage.join(30) for stage in self._stages)
        assert self.failures == []


@contextmanager
def publishing(rate: float, access: Access = THIS_MACHINE) -> Iterator[Publishing]:
    with PublisherSocket("tcp://127.0.0.1:*", 1000, access) as socket:
        running = Publishing(socket, rate)
        try:
            yield running
        finally:
            running.close()


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1080, 1920, 3), (480, 270)),
        ((1920, 1080), (270, 480)),
        # Small enough: as it is.
        ((48, 64, 3), (64, 48)),
        # A line camera's frame keeps at least a row.
        ((1, 4000, 3), (480, 1)),
    ],
)
def test_it_has_at_most_480_pixels_and_says_how_large_the_frame_is(
    shape: tuple[int, ...], size: tuple[int, int]
) -> None:
    decided = decide("a", 7)
    verdict = decided.verdict
    object.__setattr__(verdict, "epoch", "5f0c")
    preview = make_preview(verdict, np.full(shape, 90, np.uint8))
    assert (preview.w, preview.h) == size
    assert preview.scale == (shape[1] / size[0], shape[0] / size[1])
    image = cv2.imdecode(np.frombuffer(preview.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (size[1], size[0], 3)
    assert abs(float(image.mean()) - 90) < 3
    assert unpack_preview(pack_preview(preview)) == preview


@pytest.mark.usefixtures("no_thread_left")
def test_so_many_a_second_and_every_ng_and_only_to_those_who_want_them() -> None:
    with publishing(rate=4) as running:
        address = running.socket.address
        with VerdictSubscriber(address) as verdicts, PreviewSubscriber(address, ["a"]) as previews:
            until(lambda: running.socket.wants_previews)
            began = time.monotonic()
            count = 0
            while time.monotonic() - began < 2:
                for camera in ("a", "a2", "b"):
                    running.inbox.put(frame(camera, count, "ng" if count % 20 == 7 else "ok"))
                count += 1
                time.sleep(0.02)
            took = time.monotonic() - began
            received: list[Preview] = []
            while True:
                try:
                    received.append(previews.receive(0.5))
                except TimeoutError:
                    break
            # Nothing but verdicts comes here; one that is not would raise.
            sequences = [verdicts.receive(10)[0].sequence for _ in range(3 * count)]
        assert len(sequences) == 3 * count
        assert {preview.camera for preview in received} == {"a"}
        numbers = [preview.sequence for preview in received]
        assert numbers == sorted(set(numbers))
        missing = {number for number in range(count) if number % 20 == 7} - set(numbers)
        # Only where the machine had no time.
        assert len(missing) <= running.maker.status()["dropped"]
        regular = [number for number in numbers if number % 20 != 7]
        assert 2 <= len(regular) <= 4 * took + 2


@pytest.mark.usefixtures("no_thread_left")
def test_none_is_made_where_nobody_looks() -> None:
    with publishing(rate=100) as running:
        with VerdictSubscriber(running.socket.address) as verdicts:
            running.socket.await_subscribers(1, 30, threading.Event())
            for sequence in range(20):
                running.inbox.put(frame("a", sequence, "ng"))
            assert [verdicts.receive(10)[0].sequence for _ in range(20)] == list(range(20))
        assert running.maker.status() == {"made": 0, "dropped": 0}
        with PreviewSubscriber(running.socket.address) as previews:
            until(lambda: running.socket.wants_previews)
            # A frame without a picture has none.
            running.inbox.put(frame("a", 20, image=None))
            running.inbox.put(frame("a", 21))
            assert previews.receive(10).sequence == 21
        until(lambda: not running.socket.wants_previews)


@pytest.mark.usefixtures("no_thread_left")
def test_a_thread_that_hangs_delays_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, entered = threading.Event(), threading.Event()

    def hang(*_: Any) -> tuple[bool, None]:
        entered.set()
        hangs.wait(60)
        return False, None

    monkeypatch.setattr(cv2, "imencode", hang)
    with publishing(rate=100) as running, ExitStack() as stack:
        stack.callback(hangs.set)
        verdicts = stack.enter_context(VerdictSubscriber(running.socket.address))
        stack.enter_context(PreviewSubscriber(running.socket.address))
        until(lambda: running.socket.wants_previews)
        running.inbox.put(frame("a", 0, "ng"))
        assert entered.wait(30)
        waits = []
        for sequence in range(1, 100):
            began = time.monotonic()
            running.inbox.put(frame("a", sequence, "ng"))
            while verdicts.receive(10)[0].sequence != sequence:
                pass
            waits.append(time.monotonic() - began)
        # Four wait for the one that hangs.
        until(lambda: running.maker.status() == {"made": 0, "dropped": 95})
        assert sorted(waits)[50] < 0.1


@pytest.mark.usefixtures("no_thread_left")
def test_a_picture_that_cannot_be_encoded_stops_nothing() -> None:
    with publishing(rate=100) as running, PreviewSubscriber(running.socket.address) as previews:
        until(lambda: running.socket.wants_previews)
        running.inbox.put(frame("a", 0, "ng", np.zeros((0, 0, 3), np.uint8)))
        running.inbox.put(frame("a", 1, "ng", np.zeros((9, 9, 7), np.uint8)))
        running.inbox.put(frame("a", 2, "ng"))
        assert previews.receive(10).sequence == 2


@pytest.mark.usefixtures("no_thread_left")
def test_a_real_line_publishes_them(drawn: Path, bundle_path: Path, endpoint: str) -> None:
    publish = {"verdicts": endpoint, "await_subscribers": 1, "previews": 5}
    settings = config(bundle_path, f"replay:{drawn}", endpoint, publish=publish)

    async def look(count: int) -> list[Preview]:
        async with AsyncPreviewSubscriber(endpoint) as previews:
            return [await previews.receive(60) for _ in range(count)]

    with build_line(settings) as line, VerdictSubscriber(endpoint) as verdicts:
        shown: list[Preview] = []
        # One who wants previews only is not one whom the line waits for.
        looking = threading.Thread(target=lambda: shown.extend(asyncio.run(look(4))))
        looking.start()
        line.start()
        received = {(v.camera, v.epoch, v.sequence): v for v in (verdicts.receive(60)[0] for _ in range(18))}
        looking.join(60)
        assert line.status()["previews"]["made"] >= 4
    assert len(shown) == 4
    for preview in shown:
        verdict = received[preview.camera, preview.epoch, preview.sequence]
        assert preview.captured_at == verdict.captured_at
        image = cv2.imdecode(np.frombuffer(preview.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.shape[:2] == (preview.h, preview.w)


@pytest.mark.usefixtures("no_thread_left")
def test_only_a_client_with_a_key_on_the_list_gets_them(tmp_path: Path) -> None:
    house = House(tmp_path / "keys")
    with publishing(100, house.access) as running, ExitStack() as stack:
        address = running.socket.address
        strangers = [stack.enter_context(PreviewSubscriber(address, curve=keys)) for keys in house.strangers()]
        time.sleep(0.5)
        assert not running.socket.wants_previews
        office = stack.enter_context(PreviewSubscriber(address, curve=house.clients["office"]))
        until(lambda: running.socket.wants_previews)
        for sequence in range(5):
            running.inbox.put(frame("a", sequence, "ng"))
            assert office.receive(10).sequence == sequence
        for stranger in strangers:
            with pytest.raises(TimeoutError):
                stranger.receive(0.1)


def test_nobody_else_is_sent_what_one_does_not_take() -> None:
    """One that hangs loses previews and keeps nothing in the line beyond its queue; the others get theirs."""
    with publishing(rate=100) as running:
        address = running.socket.address
        with PreviewSubscriber(address), PreviewSubscriber(address) as awake:
            until(lambda: running.socket.wants_previews)
            for sequence in range(40):
                running.inbox.put(frame("a", sequence, "ng", BIG[:300, :300]))
                assert awake.receive(10).sequence == sequence


@pytest.mark.parametrize(
    "change",
    [
        {"camera": None},
        {"camera": "a/b"},
        {"epoch": "xyz"},
        {"sequence": -1},
        {"w": 0},
        {"w": 1.5},
        {"frame_h": 1 << 40},
        {"more": 1},
        {"jpeg": b"x"},
    ],
)
def test_what_is_no_preview_is_refused(change: dict[str, Any]) -> None:
    parts = pack_preview(Preview("a", "5f0c", 1, 2, 3, 4, 5, 6, b"jpeg"))
    body = msgpack.unpackb(parts[1])
    with pytest.raises(WireError) as caught:
        unpack_preview([parts[0], msgpack.packb(body | change), parts[2]])
    assert "\n" not in str(caught.value)
    for wrong in (parts[:2], [parts[0], b"\xc1", parts[2]], [parts[0], b"\x01", parts[2]], [*parts, b""]):
        with pytest.raises(WireError):
            unpack_preview(wrong)
    with pytest.raises(VersionError, match="version 2 and this Taktline reads version 1"):
        unpack_preview([parts[0], msgpack.packb(body | {"v": 2}), parts[2]])


def test_the_setting_is_checked_and_bounds_what_waits() -> None:
    def publish(**values: Any) -> Any:
        line = {"model": {"bundle": "b"}, "camera": [{"name": "a", "source": "folder:x"}], "publish": values}
        return check_config(line, "line.toml").publish

    assert publish().high_water_mark == 100_000
    assert publish(previews=5).high_water_mark == 2_000
    assert publish(previews=5, queue=7).high_water_mark == 7
    for wrong in (-1, 101, float("inf"), "many"):
        with pytest.raises(ConfigError, match=r"publish\.previews"):
            publish(previews=wrong)
    with pytest.raises(ConfigError, match="'localhost' is not an address"):
        PreviewSubscriber("localhost")
