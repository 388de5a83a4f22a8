"""What the dashboard remembers of lines and cameras, where it finds them, and what stands in an address."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from pipeline.config.lines_file import KnownLine
from pipeline.dashboard.camera_model import CameraModel, SeenPicture
from pipeline.dashboard.charts import latency_data, score_data
from pipeline.dashboard.filters import Filters, read_key, write_key
from pipeline.dashboard.line_model import LineModel
from pipeline.dashboard.places import Places, find_places
from pipeline.dashboard.snapshot import grid_values, now_values, picture_values, slow_values
from pipeline.journal.search import Key
from pipeline.journal.selection import Selection
from pipeline.protocol.verdict import Heatmap, Outcome, Verdict
from tests.pipeline.parts import decide

HEATMAP = Heatmap(np.arange(6, dtype=np.uint8).reshape(2, 3), 0.0, 9.0)


def verdict(sequence: int, outcome: Outcome = "ok", captured_at: int | None = None) -> Verdict:
    return decide("top", sequence, outcome, captured_at).verdict


def status(**changes: Any) -> dict[str, Any]:
    cameras = {"top": {"verdicts": {"ok": changes.pop("ok", 0)}}}
    found = {"live": True, "why_not": [], "engine": {"choice": None}, "cameras": cameras, "journal": None}
    return found | changes


def test_a_camera_remembers_its_last_parts_and_no_more() -> None:
    camera = CameraModel("top")
    for sequence in range(3000):
        camera.add(verdict(sequence, captured_at=1 + sequence * 100_000_000), HEATMAP)
        camera.show(SeenPicture(("", sequence), b"jpeg", 640, 480))
    assert [camera.parts[0].sequence, camera.parts[-1].sequence] == [2500, 2999]
    assert camera.rate == pytest.approx(10)
    assert camera.heatmap_of(("", 2999)) is HEATMAP and camera.heatmap_of(("", 2900)) is None
    assert camera.picture_of(("", 2999)) is not None and camera.picture_of(("", 2900)) is None
    assert len(camera._heatmaps) <= 32 and len(camera._pictures) <= 32
    assert camera.counts["ok"] == 3000


def test_the_lamp_holds_a_bad_part(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = CameraModel("top")
    assert now_values(camera)["state"] == "none"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    camera.add(verdict(0, "ng"), HEATMAP)
    camera.show(SeenPicture(("", 0), b"bad", 640, 480))
    camera.add(verdict(1), None)
    camera.show(SeenPicture(("", 1), b"good", 640, 480))
    values = now_values(camera)
    assert (values["word"], values["latest"]) == ("NG", 1)
    picture = picture_values(camera, "press4")
    assert picture is not None
    assert picture["url"].endswith("/0.jpg") and picture["grid"] is not None and picture["regions"] == [[1, 2, 3, 4]]
    now += 2.1
    assert now_values(camera)["word"] == "OK"
    picture = picture_values(camera, "press4")
    assert picture is not None
    assert picture["url"].endswith("/1.jpg"), "no picture with the heatmap of another"
    assert picture["grid"] is None
    now += 20
    assert camera.rate == 0


def test_a_late_part_is_not_inspected_and_says_why() -> None:
    camera = CameraModel("top")
    found = decide("top", 0, "uninspected")
    late = {name: getattr(found.verdict, name) for name in found.verdict.__slots__}
    camera.add(Verdict(**late | {"reason": "late", "score": None}), None)
    values = now_values(camera)
    assert (values["word"], values["why"], values["score"]) == ("NOT INSPECTED", "too late", None)
    assert camera.latency_ms is None
    shown = slow_values(camera, {"late": 1}, 100.0, "")["counts"]
    assert [(one["name"], one["count"]) for one in shown] == [("ok", "0"), ("ng", "0"), ("late", "1")]


def test_charts_end_at_the_newest_part() -> None:
    camera = CameraModel("top")
    for sequence in range(20):
        camera.add(verdict(sequence, "ng" if sequence % 10 == 0 else "ok"), None)
    series = {one["id"]: one["data"] for one in score_data(camera.parts)["series"]}
    assert [len(series[name]) for name in ("ok", "ng", "un")] == [18, 2, 0]
    assert max(series["ok"])[0] == 499
    assert series["threshold"] == [[480, 2.0], [499, 2.0]]
    lines = {one["id"]: one["data"] for one in latency_data(camera.parts, camera.latency_ms, 50.0)["series"]}
    assert lines["takt"] == [[0, 50.0], [499, 50.0]]


def test_a_heatmap_keeps_its_scale() -> None:
    values = grid_values(HEATMAP)
    assert values is not None
    assert (values["h"], values["w"], values["low"], values["high"], values["edge"]) == (2, 3, "0", "9", 85)
    assert grid_values(None) is None


def test_what_is_wrong_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    line = LineModel("press4", asks=True)
    assert line.troubles()[0][0], "nothing was reached yet"
    line.told(status(why_not=["camera top: it cannot be opened"]))
    assert line.troubles() == [(False, "camera top: it cannot be opened")]
    journal = {"trouble": "the disk is full", "retention": {"trouble": None}, "unjournaled": 3, "waiting": 3, "lost": 0}
    line.told(status(journal=journal))
    assert line.troubles()[0] == (True, "the disk is full")
    assert "3 verdicts were published before they could be journaled" in line.troubles()[1][1]
    line.told(status(journal=journal | {"trouble": None, "waiting": 0}))
    assert line.troubles() == [], "what was written since is over"
    line.lost(4)
    assert "4 verdicts are lost" in line.troubles()[0][1]
    line.unreachable("the line press4 does not answer")
    assert line.troubles()[0] == (True, "the line press4 does not answer")


def test_a_line_that_publishes_unheard_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    line = LineModel("press4", asks=True)
    for ok in range(8):
        line.told(status(ok=ok))
        now += 1
    assert "do not reach this dashboard" in line.troubles()[0][1]
    line.received(verdict(0), None)
    assert line.troubles() == []
    line.told(status(ok=9))
    now += 60
    line.told(status(ok=9))
    assert line.troubles() == [], "a line may be slow"


def test_a_line_that_cannot_be_asked_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    line = LineModel("press4", asks=False)
    assert "no verdict has come" in line.troubles()[0][1]
    line.received(verdict(0), None)
    assert line.troubles() == []
    assert line.counts("top") == {"ok": 1}


@pytest.mark.parametrize(
    ("settings", "told", "expected"),
    [
        ({}, None, Places(None, None, None)),
        ({}, {"verdicts": "tcp://0.0.0.0:5556", "replay": None}, Places("tcp://127.0.0.1:5556", None, None)),
        ({"control": "tcp://10.0.0.5:1"}, {"verdicts": "tcp://*:5556", "replay": "tcp://[::]:7"},
         Places("tcp://10.0.0.5:5556", "tcp://10.0.0.5:7", None)),
        ({"verdicts": "tcp://10.0.0.6:2"}, {"verdicts": "tcp://127.0.0.1:1"}, Places("tcp://10.0.0.6:2", None, None)),
        # A path that another machine tells is none of this one.
        ({"control": "tcp://10.0.0.5:1"}, {"verdicts": "tcp://10.0.0.5:2", "journal": "/etc/passwd"},
         Places("tcp://10.0.0.5:2", None, None)),
    ],
)  # fmt: skip
def test_where_a_line_is(settings: dict[str, str], told: dict[str, str] | None, expected: Places) -> None:
    line = KnownLine.model_validate({"name": "press4"} | settings)
    assert find_places(line, None if told is None else {"places": told}) == expected


def test_filters_stand_in_the_address() -> None:
    texts = {"line": "a", "part": "P*", "low": "1.5", "label": "none", "verdict": "ng", "from": "2025-03-01T06:00",
             "other": "x", "camera": " "}  # fmt: skip
    filters = Filters.read(texts)
    assert filters.wrong is None
    selection = filters.selection
    assert (selection.part, selection.lowest, selection.unlabelled, selection.verdicts) == ("P*", 1.5, True, ("ng",))
    assert selection.cameras == () and selection.since is not None
    assert "other" not in filters.address("/history") and "part=P%2A" in filters.address("/history")
    assert Filters.read({"low": "much"}).wrong == "'much' is not a number of sigma."
    assert Filters.read({"low": "much"}).selection == Selection()


def test_a_key_is_read_back() -> None:
    key = Key(1_700_000_000_123_456_789, "cam-1_a.b", "5f0c", 17)
    assert read_key(write_key(key)) == key
    for text in (None, "", "1~2", "a~b~c~d", f"{2**63}~a~1~b", "1~a~-1~b", "1~" + "a" * 65 + "~1~b"):
        assert read_key(text) is None
