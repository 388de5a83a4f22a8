"""Pictures that are asked for by message: every trigger that was accepted has one answer, whatever the camera does."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from engines.errors import TaktlineError
from pipeline.config.camera import CameraConfig
from pipeline.flow.frame import Frame
from pipeline.sources.camera import CameraSource
from pipeline.sources.device import CameraError
from pipeline.sources.trigger import Triggers
from tests.pipeline.sources.live import PEERS, line_config, running, start, stop


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


def test_triggers_that_were_accepted_before_a_stop_are_answered(port: int) -> None:
    """The camera is silent after its first five pictures; the triggers wait for it when the line stops."""
    server = start(sys.executable, PEERS / "mjpeg_server.py", port, 5)
    source = CameraSource(
        CameraConfig(name="top", source=f"http://127.0.0.1:{port}/", trigger="software", silence_ms=60_000)
    )
    over = threading.Event()
    frames: list[Frame] = []
    reading = threading.Thread(target=lambda: frames.extend(source.frames(over)))
    reading.start()
    try:
        deadline = time.monotonic() + 30
        while source.trouble is not None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        # Until the last of them has passed.
        time.sleep(0.5)
        for part in "abc":
            source.trigger(part)
    finally:
        over.set()
        reading.join(30)
        stop(server)
    assert [frame.part for frame in frames] == ["a", "b", "c"]
    assert [frame.sequence for frame in frames] == [0, 1, 2]
    assert {frame.fault for frame in frames} == {"the line stopped before the camera gave a picture"}
    with pytest.raises(TaktlineError, match="its line is stopping"):
        source.trigger("d")


def test_a_reader_that_wakes_up_late_changes_nothing_for_its_successor() -> None:
    triggers, old, new, fired = Triggers(exclusive=False), object(), object(), []
    triggers.admit(old)
    triggers.dismiss()
    triggers.admit(new)
    triggers.arm(new, lambda: fired.append("new"))
    triggers.arm(old, lambda: fired.append("old"))
    triggers.ask("a")
    assert fired == ["new"]
    assert triggers.match(old, time.monotonic_ns()) is None
    found = triggers.match(new, time.monotonic_ns())
    assert found is not None and found.part == "a"


def test_a_trigger_whose_picture_is_lost_on_its_way_is_answered() -> None:
    """A reader took the trigger, and was abandoned before its picture became a frame."""
    triggers, reader = Triggers(exclusive=False), object()
    triggers.admit(reader)
    triggers.ask("lost")
    triggers.ask("seen")
    triggers.ask("waiting")
    taken = [triggers.match(reader, time.monotonic_ns()) for _ in range(2)]
    assert taken[1] is not None
    triggers.answer(taken[1])
    triggers.dismiss()
    triggers.give_up("gone")
    assert [(trigger.part, why) for trigger, why in triggers.unanswered()] == [("lost", "gone"), ("waiting", "gone")]
    assert triggers.unanswered() == []


def test_a_trigger_before_the_camera_is_open_gets_no_later_picture() -> None:
    """Nobody passed it on to the camera. Those that run free take their picture anyway."""
    for exclusive, left in ((True, ["early"]), (False, [])):
        triggers, reader = Triggers(exclusive), object()
        fired: list[str] = []
        triggers.admit(reader)
        triggers.ask("early")
        triggers.arm(reader, partial(fired.append, "fired"))
        assert [trigger.part for trigger, _ in triggers.unanswered()] == left
        triggers.ask("next")
        assert fired == ["fired"]
        found = triggers.match(reader, time.monotonic_ns())
        assert found is not None and found.part == ("next" if exclusive else "early")


def test_a_device_that_is_closed_meanwhile_is_a_camera_error() -> None:
    triggers, reader = Triggers(exclusive=False), object()
    triggers.admit(reader)
    triggers.arm(reader, lambda: threading.Event().no_such_thing)  # type: ignore[attr-defined]
    with pytest.raises(CameraError, match="it took no trigger"):
        triggers.ask("a")
    triggers.close("over")
    assert [trigger.part for trigger, _ in triggers.unanswered()] == ["a"]


def test_triggers_that_nobody_answers_are_bounded() -> None:
    triggers = Triggers(exclusive=True)
    for _ in range(1000):
        triggers.ask(None)
    with pytest.raises(TaktlineError, match="1000 triggers wait"):
        triggers.ask(None)
