"""The verdict on the wire, and regions found in a heatmap."""

from __future__ import annotations

import dataclasses
import math
import os
from typing import Any

import msgpack
import numpy as np
import pytest

from engines.errors import TaktlineError
from pipeline.line.regions import find_regions
from pipeline.protocol.orders import read_order
from pipeline.protocol.topics import safe_text
from pipeline.protocol.verdict import Heatmap, Latency, Region, Verdict, WireError, pack, unpack

VERDICT = Verdict(
    line="press 4", camera="top", sequence=7, verdict="ng", reason=None, score=5.25, threshold=2.0,
    regions=(Region(1, 2, 30, 40, 9.5),), part="A/17", captured_at=1_700_000_000_123_456_789,
    latency=Latency(1, 2, 3, 4), engine="openvino", precision="bf16", exact=False, bundle="0123456789ab",
)  # fmt: skip


def test_a_verdict_survives_the_wire() -> None:
    grid = np.arange(12, dtype=np.uint8).reshape(3, 4)
    parts = pack(VERDICT, Heatmap(grid, 0.0, 12.0))
    assert parts[0] == b"verdict.top"
    found, heatmap = unpack(parts)
    assert found == VERDICT
    assert heatmap is not None
    np.testing.assert_array_equal(heatmap.grid, grid)
    assert unpack(pack(VERDICT, None)) == (VERDICT, None)


def test_the_body_has_the_contracts_fields() -> None:
    body = msgpack.unpackb(pack(VERDICT, None)[1])
    assert set(body) == {
        "v", "line", "camera", "sequence", "verdict", "reason", "score", "threshold", "regions", "part", "captured_at",
        "latency", "engine", "precision", "exact", "bundle", "epoch", "journaled",
    }  # fmt: skip
    assert body["latency"] == {"queue": 1, "infer": 2, "decide": 3, "publish": 4}
    assert body["regions"] == [{"x": 1, "y": 2, "w": 30, "h": 40, "peak": 9.5}]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"verdict.top"],
        [b"verdict.top", b"\xc1"],
        [b"verdict.top", msgpack.packb([1])],
        [b"verdict.top", msgpack.packb({"v": 1})],
        [b"verdict.top", msgpack.packb({"v": 2})],
        [b"verdict.top", msgpack.packb({"v": 2, "x": "y" * 10_000})],
        [b"verdict.top", b"\x91" * 2000],
        [*pack(VERDICT, Heatmap(np.zeros((2, 2), np.uint8), 0, 1))[:2], b"123"],
    ],
)
def test_what_is_no_verdict_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        unpack(parts)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["score", "threshold", "peak", "low", "high"])
def test_what_is_no_finite_number_is_never_sent(field: str, number: float) -> None:
    heatmap, verdict = Heatmap(np.zeros((2, 2), np.uint8), 0.0, 12.0), VERDICT
    change: dict[str, Any] = {field: number}
    if field == "peak":
        verdict = dataclasses.replace(VERDICT, regions=(*VERDICT.regions, Region(1, 2, 3, 4, number)))
    elif field in ("low", "high"):
        heatmap = dataclasses.replace(heatmap, **change)
    else:
        verdict = dataclasses.replace(VERDICT, **change)
    with pytest.raises(WireError, match=r"frame 7: .*not a finite number"):
        pack(verdict, heatmap)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("A/17", "A/17"),
        ("Stück-ß-部品-🔩", "Stück-ß-部品-🔩"),
        # As `os.listdir` returns a name that is latin-1 on the disk.
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        (os.fsdecode(b"\xff\xfe"), r"\xff\xfe"),
        ("half a pair: \ud83d", r"half a pair: \xed\xa0\xbd"),
        ("x" * 5000, "x" * 4096),
        ("ß" * 5000, "ß" * 2048),
        ("x" + "部" * 5000, "x" + "部" * 1365),
    ],
)
def test_any_text_can_be_sent(text: str, safe: str) -> None:
    assert safe_text(text) == safe
    found, _ = unpack(pack(dataclasses.replace(VERDICT, part=text), None))
    assert found.part == safe


@pytest.mark.parametrize("threshold", [1.9e18, -1000.1, math.nan, math.inf, "x"])
def test_a_threshold_that_nobody_means_is_refused(threshold: Any) -> None:
    for taken in (-1000, 0, 2.5, 1000):
        assert read_order(msgpack.packb({"do": "threshold", "threshold": taken})).threshold == taken
    with pytest.raises(TaktlineError, match="threshold"):
        read_order(msgpack.packb({"do": "threshold", "threshold": threshold}))


def test_the_heatmap_scale_is_fixed() -> None:
    sigma = np.array([[-3.0, 0.0, 6.0, 12.0, 50.0]], np.float32)
    assert Heatmap.from_sigma(sigma, 0.0, 12.0).grid.tolist() == [[0, 0, 128, 255, 255]]


def test_regions_lie_where_the_heatmap_is_hot() -> None:
    sigma = np.zeros((28, 28), np.float32)
    sigma[2:4, 5:8] = 7.0
    sigma[3, 6] = 9.0
    sigma[20, 20] = 11.0
    regions = find_regions(sigma, 5.0, (560, 280))
    assert regions == (Region(200, 400, 10, 20, 11.0), Region(50, 40, 30, 40, 9.0))
    assert find_regions(sigma, 5.0, (560, 280), min_region_px=500) == (Region(50, 40, 30, 40, 9.0),)
    assert find_regions(sigma, 20.0, (560, 280)) == ()
