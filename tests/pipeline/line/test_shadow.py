"""A candidate judges parts beside the running bundle: nothing of it is seen, and nothing that happens to it is felt."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from engines.bundle import Bundle, open_bundle, update_manifest, write_manifest
from engines.errors import TaktlineError
from pipeline.client.orders import tell_line
from pipeline.flow.frame import Frame
from pipeline.line.build import build_line
from pipeline.line.gaps import Gaps
from pipeline.line.shadow import Beside, ShadowRun
from pipeline.line.shadow_record import ShadowPart, ShadowRecord
from pipeline.protocol.orders import Order
from pipeline.protocol.verdict import Verdict
from tests.pipeline.flow.clocks import HandClock
from tests.pipeline.line.test_takt import PICTURE, Camera
from tests.pipeline.parts import decide, until
from tests.pipeline.publish.test_control import Running, settings

# A candidate computes only where nothing else does, so other tests beside it would starve it.
pytestmark = pytest.mark.serial


@pytest.fixture
def strict(small_bundle_path: Path, tmp_path: Path) -> Bundle:
    """A candidate that rejects every part."""
    return changed(small_bundle_path, tmp_path / "strict", -500)


def changed(bundle: Path, path: Path, threshold: float) -> Bundle:
    """A copy of a bundle with another threshold."""
    copy = open_bundle(Path(shutil.copytree(bundle, path)))
    return update_manifest(copy, {"threshold": copy.manifest.threshold.model_dump() | {"value": threshold}})


@pytest.fixture
def lenient(small_bundle_path: Path, tmp_path: Path) -> Path:
    """A bundle that accepts every part, for the line to run."""
    return changed(small_bundle_path, tmp_path / "lenient", 500).path


class Faucet(Camera):
    """A camera whose rate can be changed while it runs."""

    def __init__(self, fps: float) -> None:
        super().__init__("a", fps, 0)
        self.fps = fps

    def frames(self, stop: threading.Event) -> Iterator[Frame]:
        for number in range(1_000_000):
            if stop.wait(1 / self.fps):
                return
            yield Frame(self.camera, number, PICTURE, time.time_ns(), time.monotonic_ns())


@contextmanager
def line_of(bundle: Path, drawn: Path, fps: float = 20, camera: Camera | None = None) -> Iterator[Running]:
    config = settings(bundle, drawn)
    # Not auto, which would measure engines.
    config = config.model_copy(update={"model": config.model.model_copy(update={"engine": "openvino"})})
    with build_line(config, sources=[camera or Camera("a", fps, 1_000_000)], watched=True) as line:
        running = Running(line)
        yield running
        running.close()


def tell(running: Running, **order: Any) -> dict[str, Any]:
    return tell_line(running.address, Order(**order))


def shadow(running: Running, bundle: Bundle, parts: int) -> None:
    tell(running, do="shadow", bundle=str(bundle.path), parts=parts)


def wait(running: Running, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Waits until a shadow run has come so far, and returns its state."""
    deadline = time.monotonic() + 90
    while not reached(found := tell(running, do="status")["status"]["shadow"]):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return dict(found)


def is_over(found: dict[str, Any]) -> bool:
    return found["state"] in {"done", "ended"}


def begun(found: dict[str, Any]) -> bool:
    return found["judged"] > 0 or is_over(found)


def candidates() -> list[psutil.Process]:
    """The processes that candidates run in."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any("engines.apart_process" in word for word in child.cmdline()):
                found.append(child)
    return found


def check_unseen(verdicts: list[Verdict], bundle: Path) -> None:
    """All was inspected by the running bundle, which accepts everything, if the machine let it."""
    assert {verdict.bundle for verdict in verdicts} == {open_bundle(bundle).short_id}
    assert {verdict.verdict for verdict in verdicts} <= {"ok", "uninspected"}
    assert {verdict.reason for verdict in verdicts} <= {None, "dropped", "late"}


@pytest.mark.usefixtures("no_thread_left")
def test_it_judges_so_many_parts_and_reports_them_while_nobody_sees_its_verdicts(
    lenient: Path, strict: Bundle, drawn: Path
) -> None:
    with line_of(lenient, drawn) as running:
        assert tell(running, do="status")["status"]["shadow"] is None
        shadow(running, strict, 12)
        with pytest.raises(TaktlineError, match="is under way; wait for it, or end it with"):
            shadow(running, strict, 12)
        found = wait(running, is_over)
        assert (found["state"], found["reason"], found["judged"], found["differing"]) == ("done", None, 12, 12)
        assert found["ng"] == {"old": 0, "new": 12}
        assert found["beside"] == open_bundle(lenient).short_id and found["bundle"] == strict.short_id
        assert found["cost_ms"]["new"] > 0 and found["period_ms"] == pytest.approx(50, rel=0.5)
        report = tell(running, do="report-shadow")
        assert len(report["parts"]) == 12 and report["next"] is None
        for part in report["parts"]:
            # The same network in the same precision.
            assert part["scores"][0] == pytest.approx(part["scores"][1], abs=1e-3)
            assert part["picture"][:2] == part["overlay"][:2] == b"\xff\xd8"
        until(lambda: not candidates())
    check_unseen(running.verdicts, lenient)


def test_a_candidate_that_is_killed_or_hangs_or_is_cancelled_costs_the_line_nothing(
    lenient: Path, strict: Bundle, drawn: Path
) -> None:
    with line_of(lenient, drawn) as running:
        shadow(running, strict, 10_000)
        wait(running, begun)
        (process,) = candidates()
        # It takes processor time only where nothing else wants any, and is the first to go where memory runs out.
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text().strip() == "1000"
        process.kill()
        found = wait(running, is_over)
        assert found["state"] == "ended" and "own process ended (SIGKILL)" in found["reason"]
        running.more()

        shadow(running, strict, 10_000)
        wait(running, begun)
        (process,) = candidates()
        process.send_signal(signal.SIGSTOP)
        stopped = len(running.verdicts)
        running.more(20)
        before = tell(running, do="status")["status"]["shadow"]
        assert before["state"] == "running"
        assert tell(running, do="cancel-shadow")["status"]["shadow"]["reason"] == "it was cancelled"
        process.wait(20)
        running.more()
        assert len(running.verdicts) > stopped + 20
        # There is room for the next one.
        shadow(running, strict, 3)
        assert wait(running, is_over)["state"] == "done"
    check_unseen(running.verdicts, lenient)


def test_it_ends_where_the_line_goes_on_with_something_else(lenient: Path, strict: Bundle, drawn: Path) -> None:
    with line_of(lenient, drawn) as running:
        for order, reason in (
            (Order(do="threshold", threshold=400), "the threshold was changed"),
            (Order(do="deploy", bundle=str(strict.path)), "the line was given another bundle"),
        ):
            shadow(running, strict, 10_000)
            wait(running, begun)
            status = tell_line(running.address, order)["status"]
            assert (status["shadow"]["state"], status["shadow"]["reason"]) == ("ended", reason)
        with pytest.raises(TaktlineError, match="is the bundle that the line runs"):
            shadow(running, strict, 5)
        with pytest.raises(TaktlineError, match="holds another bundle by now"):
            tell(running, do="deploy", bundle=str(lenient), sha256="0" * 64)
        # One is under way while the line ends.
        shadow(running, open_bundle(lenient), 10_000)
        wait(running, begun)
        left = candidates()
    assert left and not candidates()


def test_what_cannot_be_opened_ends_it_with_the_reason(
    lenient: Path, small_bundle_path: Path, drawn: Path, tmp_path: Path
) -> None:
    """A file that is not the one that the manifest names, then one that is, and no model."""
    broken = changed(small_bundle_path, tmp_path / "broken", 1)
    (broken.path / "model.onnx").write_bytes(b"nonsense")
    with line_of(lenient, drawn) as running:
        shadow(running, broken, 5)
        found = wait(running, is_over)
        assert found["state"] == "ended" and "was altered" in found["reason"], found
        write_manifest(broken.path, broken.manifest.model_dump())
        shadow(running, broken, 5)
        found = wait(running, is_over)
        assert found["state"] == "ended" and "the candidate failed: " in found["reason"], found
        assert "OpenVINO cannot load" in found["reason"]
        running.more()
    check_unseen(running.verdicts, lenient)


def test_an_engine_that_is_never_idle_is_never_used(lenient: Path, strict: Bundle, drawn: Path) -> None:
    """Frames come faster than the engine takes them; the run gives up and says so."""
    camera = Faucet(fps=5)
    with line_of(lenient, drawn, camera=camera) as running:
        shadow(running, strict, 5)
        wait(running, begun)
        camera.fps = 2000
        found = wait(running, is_over)
    assert found["state"] == "ended" and "there was time for only" in found["reason"]
    assert found["skipped"] == 400 and found["judged"] < 5


def test_the_next_frame_is_expected_after_a_cameras_shortest_pause() -> None:
    gaps = Gaps()
    assert gaps.next_expected(5) == 5
    for number in range(5):
        gaps.note("a", 1000 * number)
    gaps.note("b", 3100)
    # Of `b` nothing is known, so it may come at any moment.
    assert gaps.next_expected(4100) == 4100
    gaps.note("b", 4050)
    assert gaps.next_expected(4100) == 5000
    assert gaps.next_expected(5020) == 5020
    # `b` has stopped; `a` is late.
    assert gaps.next_expected(5980) == 5980
    # So has `a`.
    assert gaps.next_expected(6100) > 10**12
    assert gaps.period_ns == 4050 // 6


def test_where_no_priority_helps_a_part_is_taken_only_if_it_will_be_done_in_time(small_bundle_path: Path) -> None:
    """As on a GPU; a frame comes every 100 ms, and the candidate takes 30 ms for a part."""
    bundle, clock, busy = open_bundle(small_bundle_path), HandClock(), False

    def unused(*_: object) -> Any:
        raise AssertionError("the run is never started")

    beside = Beside(bundle, unused, unused, lambda: None if busy else 1, lambda: None)
    run = ShadowRun(bundle, 5, beside, clock)
    decided = decide("a", 0)
    for number in range(5):
        decided.frame.captured = 100_000_000 * (number + 1)
        run.offer(decided)
    run._times.extend([30_000_000] * 10)
    for ms, takes in ((500, True), (565, True), (575, False), (630, False)):
        clock.now = ms * 1_000_000
        assert run._has_time() is takes, ms
    clock.now, busy = 500_000_000, True
    assert not run._has_time()
    # On a CPU it gives way whenever the line wakes up.
    busy, run._yields, clock.now = False, True, 595_000_000
    assert run._has_time()
    busy = True
    assert not run._has_time()


def test_pictures_are_kept_within_bounds_and_come_in_pages() -> None:
    record = ShadowRecord()
    for number in range(1000):
        picture = b"x" * 50_000 if record.has_room else None
        record.add(ShadowPart("a", number, (1.0, 2.0), (False, True), picture, picture))
    assert len(record) == 1000 and record.counts()["differing"] == 1000
    held = sum(len(part.picture or b"") + len(part.overlay or b"") for part in record._parts)
    assert 16 << 20 <= held < (16 << 20) + 100_000
    start: int | None = 0
    seen: list[int] = []
    while start is not None:
        parts, start = record.page(start)
        assert sum(len(part["picture"] or b"") for part in parts) < 512 << 10
        seen += [part["sequence"] for part in parts]
    assert seen == list(range(1000))
