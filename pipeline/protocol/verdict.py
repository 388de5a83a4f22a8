"""The verdict: what the line says about one frame, and its format on the wire."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

import msgpack
import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from engines.errors import TaktlineError
from engines.validation import explain
from pipeline.protocol.label import Label
from pipeline.protocol.topics import MOST_TEXT_BYTES, TOPIC, safe_text

WIRE_VERSION = 2
_BUFFER_BYTES = 16 << 10

Outcome = Literal["ok", "ng", "uninspected"]
Reason = Literal["dropped", "late", "corrupt", "engine_error"]
HeatmapGrid = npt.NDArray[np.uint8]

# Readers check these on bodies from outside; creating a verdict here costs nothing extra.
Number = Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Sigma = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Text = Annotated[str, Field(strict=True, max_length=64)]
Part = Annotated[str, Field(strict=True, max_length=MOST_TEXT_BYTES)]
_CHECKED = ConfigDict(extra="forbid")


class WireError(TaktlineError):
    """A message is not a verdict that this version can read."""


class VersionError(WireError):
    """A message has another schema version, because its sender is another version of Taktline."""


@dataclass(frozen=True, slots=True)
class Region:
    """A connected area of the heatmap above its threshold, in pixels of the frame.

    Attributes:
        x: left edge.
        y: upper edge.
        w: width.
        h: height.
        peak: the highest value inside, in sigma.
    """

    x: Number
    y: Number
    w: Count
    h: Count
    peak: Sigma

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED


@dataclass(frozen=True, slots=True)
class Latency:
    """Where a frame's time went, in nanoseconds.

    Attributes:
        queue: from capture (before the picture is decoded) until its batch was closed.
        infer: until the engine returned its score.
        decide: until there was a verdict.
        publish: until the verdict was passed to the journal, or to the socket if there is no journal.
    """

    queue: Number
    infer: Number
    decide: Number
    publish: Number

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    @property
    def total(self) -> int:
        """Time from capture to the socket."""
        return self.queue + self.infer + self.decide + self.publish


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the line says about one frame. Fields are those of the body; scores and thresholds are in sigma.

    Attributes:
        line: name of the line.
        camera: name of the camera.
        sequence: number of the frame, per camera, without gaps.
        verdict: `ok`, `ng` or `uninspected`.
        reason: why a frame is uninspected, else None.
        score: None if the frame was not inspected.
        threshold: a part is `ng` if its score is above it.
        regions: where the defect seems to be, strongest first.
        part: id of the part, if the source knows it.
        captured_at: wall clock, nanoseconds since 1970 (UTC).
        latency: where the time went.
        engine: name of the engine.
        precision: precision it computed in.
        exact: whether float32 is certain to give this verdict, because it was computed in float32 or the score is far
            from the threshold.
        bundle: first 12 digits of the bundle's sha256.
        epoch: within one epoch, each sequence of a camera identifies one frame; a new epoch begins when the line cannot
            guarantee that, as with a new journal.
        journaled: whether the verdict was in the journal before it was published.
        label: what a person said about it since; None if nobody did, as in every verdict that is just made.
    """

    line: Text
    camera: Text
    sequence: Count
    verdict: Outcome
    reason: Reason | None
    score: Sigma | None
    threshold: Sigma
    regions: tuple[Region, ...]
    part: Part | None
    captured_at: Count
    latency: Latency
    engine: Text
    precision: Text
    exact: Flag
    bundle: Text
    epoch: Text = ""
    journaled: Flag = False
    label: Label | None = None

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as plain values, as in the body, without the heatmap; `label` only if there is one."""
        values: dict[str, Any] = {"v": WIRE_VERSION}
        # `asdict` copies everything and takes four times as long.
        for name in _FIELDS:
            values[name] = getattr(self, name)
        values["regions"] = [
            {"x": region.x, "y": region.y, "w": region.w, "h": region.h, "peak": region.peak} for region in self.regions
        ]
        latency = self.latency
        values["latency"] = {
            "queue": latency.queue,
            "infer": latency.infer,
            "decide": latency.decide,
            "publish": latency.publish,
        }
        if self.label is not None:
            values["label"] = self.label.to_json()
        return values


_FIELDS = tuple(field.name for field in fields(Verdict) if field.name != "label")


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A heatmap as it is sent: bytes on a fixed scale.

    Attributes:
        grid: uint8 `[h, w]`; 0 means `low` sigma or less, 255 means `high` sigma or more.
        low: see `grid`.
        high: see `grid`.
    """

    grid: HeatmapGrid
    low: float
    high: float

    @classmethod
    def from_sigma(cls, sigma: npt.NDArray[np.float32], low: float, high: float) -> Heatmap:
        """Converts a heatmap in sigma units to bytes on the scale from `low` to `high`."""
        grid = np.rint(np.clip((sigma - low) / (high - low), 0.0, 1.0) * 255.0)
        return cls(grid.astype(np.uint8), low, high)


@dataclass(frozen=True, slots=True)
class HeatmapScale:
    """Size and scale of the heatmap that follows a body.

    Attributes:
        h: rows of the grid.
        w: columns of the grid.
        low: the value of byte 0, in sigma.
        high: the value of byte 255, in sigma.
    """

    h: Annotated[int, Field(strict=True, ge=1, le=4096)]
    w: Annotated[int, Field(strict=True, ge=1, le=4096)]
    low: Sigma
    high: Sigma

    __pydantic_config__: ClassVar[ConfigDict] = _CHECKED


_VERDICT, _SCALE = TypeAdapter(Verdict), TypeAdapter(dict[str, HeatmapScale])


def pack(verdict: Verdict, heatmap: Heatmap | None) -> list[bytes]:
    """Returns a verdict as ZeroMQ message parts: topic, body and, if there is one, the heatmap's bytes.

    Raises:
        WireError: a score, a threshold or the heatmap's scale is not a finite number.
    """
    numbers = [verdict.score or 0.0, verdict.threshold, *(region.peak for region in verdict.regions)]
    if heatmap is not None:
        numbers += (heatmap.low, heatmap.high)
    if not all(map(math.isfinite, numbers)):
        raise WireError(
            f"camera {verdict.camera}, frame {verdict.sequence}: a score, the threshold or the heatmap's scale is not "
            "a finite number; calibrate the bundle again"
        )
    body = verdict.to_json()
    if verdict.part is not None:
        body["part"] = safe_text(verdict.part)
    if heatmap is not None:
        height, width = heatmap.grid.shape
        body["heatmap"] = {"h": height, "w": width, "low": heatmap.low, "high": heatmap.high}
    # Not `packb`: its buffer of a megabyte is the first that a machine without memory refuses.
    parts = [f"{TOPIC}{verdict.camera}".encode(), msgpack.Packer(buf_size=_BUFFER_BYTES).pack(body)]
    if heatmap is not None:
        parts.append(heatmap.grid.tobytes())
    return parts


def unpack(parts: list[bytes]) -> tuple[Verdict, Heatmap | None]:
    """Reads a verdict from ZeroMQ message parts.

    Raises:
        WireError: the message is not a verdict, or has another version.
    """
    if len(parts) not in (2, 3):
        raise WireError(f"a message of {len(parts)} parts is not a verdict; is this the address of a Taktline line?")
    try:
        body = msgpack.unpackb(
            parts[1],
            strict_map_key=True,
            max_map_len=64,
            max_array_len=4096,
            max_str_len=MOST_TEXT_BYTES,
            max_bin_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError("a message's body is not msgpack; is this the address of a Taktline line?") from error
    version = body.get("v") if isinstance(body, dict) else None
    if not isinstance(body, dict) or type(version) is not int:
        raise WireError("a message's body is not a verdict; is this the address of a Taktline line?")
    if version != WIRE_VERSION:
        raise VersionError(
            f"a message has schema version {version} and this Taktline reads version {WIRE_VERSION}; use "
            "the same version on both sides"
        )
    scale = body.pop("heatmap", None)
    body.pop("v")
    try:
        verdict = _VERDICT.validate_python(body)
        if (scale is None) != (len(parts) == 2):
            raise WireError("a message has a heatmap without a scale, or a scale without a heatmap")
        if scale is None:
            return verdict, None
        checked = _SCALE.validate_python({"heatmap": scale})["heatmap"]
        grid = np.frombuffer(parts[2], np.uint8).reshape(checked.h, checked.w)
        return verdict, Heatmap(grid, checked.low, checked.high)
    except ValueError as error:
        why = explain(error) if isinstance(error, ValidationError) else str(error)
        raise WireError(f"a message is not a complete verdict ({why}); use the same Taktline on both sides") from error
