"""What the live page shows of a camera, as plain values: made once for all browsers."""

from __future__ import annotations

import base64
from typing import Any

from pipeline.dashboard.camera_model import CameraModel, Key, SeenPart
from pipeline.dashboard.charts import latency_data, score_data
from pipeline.protocol.verdict import Heatmap

Values = dict[str, Any]

REASONS = {
    "dropped": "no time for it", "late": "too late", "corrupt": "corrupt picture", "engine_error": "engine error",
}  # fmt: skip
_WORDS = {"ok": "OK", "ng": "NG", "uninspected": "NOT INSPECTED"}
_COUNTED = {"ok": "ok", "ng": "ng", "dropped": "dropped", "late": "late", "corrupt": "corrupt",
            "engine_error": "engine error"}  # fmt: skip
# Calibration ends the scale at three times the value above which a cell belongs to a region.
_REGION_SHARE = 1 / 3


def now_values(camera: CameraModel) -> Values:
    """Returns the lamp and the part that it stands for."""
    part = camera.shown
    if part is None:
        return {"state": "none", "word": "no part yet", "why": "", "part": "", "score": None, "threshold": None,
                "latest": -1}  # fmt: skip
    return {
        "state": part.outcome,
        "word": _WORDS[part.outcome],
        "why": REASONS.get(part.reason or "", ""),
        "part": part_name(part),
        "score": None if part.score is None else f"{part.score:.2f}",
        "threshold": f"{part.threshold:.2f}",
        "latest": camera.parts[-1].sequence,
    }


def picture_values(camera: CameraModel, line: str) -> Values | None:
    """Returns the newest picture with its heatmap and regions; None if the line sends none."""
    picture = camera.picture
    if picture is None:
        return None
    part = camera.part_of(picture.key)
    return {
        "url": picture_url(line, camera.name, picture.key),
        "sequence": picture.key[1],
        "size": [picture.width, picture.height],
        "caption": "" if part is None else part_name(part),
        "regions": [] if part is None else [[r.x, r.y, r.w, r.h] for r in part.regions],
        "grid": grid_values(camera.heatmap_of(picture.key)),
    }


def slow_values(camera: CameraModel, counts: dict[str, int], takt_ms: float | None, since: str) -> Values:
    """Returns counters and figures, which change too often to read."""
    latency = camera.latency_ms
    shown = [
        {"name": name, "kind": key if key in _WORDS else "un", "count": f"{counts.get(key, 0):,}"}
        for key, name in _COUNTED.items()
        if key in {"ok", "ng"} or counts.get(key)
    ]
    return {
        "counts": shown,
        "rate": f"{camera.rate:.1f}",
        "p50": None if latency is None else f"{latency[0]:.0f}",
        "p99": None if latency is None else f"{latency[1]:.0f}",
        "takt": None if takt_ms is None else f"{takt_ms:g}",
        "over": bool(takt_ms is not None and latency is not None and latency[1] > takt_ms),
        "since": since,
    }


def chart_values(camera: CameraModel, takt_ms: float | None) -> Values:
    """Returns the data of a camera's two charts."""
    return {"score": score_data(camera.parts), "latency": latency_data(camera.parts, camera.latency_ms, takt_ms)}


def grid_values(heatmap: Heatmap | None) -> Values | None:
    """Returns a heatmap's bytes and scale; `edge` is the byte above which a cell belongs to a region."""
    if heatmap is None:
        return None
    height, width = heatmap.grid.shape
    return {
        "data": base64.b64encode(heatmap.grid.tobytes()).decode(),
        "h": height,
        "w": width,
        "low": f"{heatmap.low:.3g}",
        "high": f"{heatmap.high:.3g}",
        "edge": round(255 * _REGION_SHARE),
    }


def picture_url(line: str, camera: str, key: Key) -> str:
    """Returns where the browser gets a preview."""
    return f"/live/{line}/{camera}/{key[0]}/{key[1]}.jpg"


def part_name(part: SeenPart) -> str:
    """Returns a part's id, or its number if the source knows none."""
    return part.part if part.part else f"#{part.sequence}"
