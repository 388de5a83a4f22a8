"""A camera's settings."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section
from pipeline.protocol.sockets import check_address
from pipeline.protocol.topics import Name

Overload = Literal["drop_oldest", "block"]


class CameraConfig(Section):
    """`[[camera]]`: one source of frames.

    Attributes:
        name: its name in verdicts.
        source: `replay:DIR`, `folder:DIR`, `usb:NUMBER`, `usb:/dev/v4l/by-id/...`, `gige:ID`, `rtsp://...`,
            `http://...`, `file:VIDEO`, or `feed:ipc://PATH` for frames that another program sends.
        fps: frames per second; None for as fast as the line takes them or the camera sends them.
        seed: order of a replay.
        follow: whether to wait for new pictures in a folder.
        width: of a USB or GigE camera's picture, in pixels; None to leave it unchanged.
        height: likewise.
        exposure_us: of a USB or GigE camera, in microseconds; None to leave it unchanged.
        gain: of a GigE camera, in its own unit; None to leave it unchanged.
        pixel_format: of a GigE camera, by its GenICam name; None for the current one, or the first that can be read.
        trigger: None for a camera that runs free; `software` for pictures requested by message; the name of a GigE
            camera's line, such as `Line0`, for pictures requested by a signal.
        part_from: where the part id of a GigE camera's picture comes from: `frame-id`, or `chunk:NAME` for a chunk.
        roi: x, y, width and height of the region to inspect, in pixels of the camera's picture.
        rotate: degrees by which that region is turned clockwise.
        silence_ms: how long a live camera may send nothing before it is reopened; 0 for no limit.
        open_timeout_ms: how long opening it may take.
        on_overload: what happens to a frame that the line has no time for: `drop_oldest`, or `block` to make the source
            wait; None for the source's default.
    """

    name: Name
    source: str
    fps: float | None = None
    seed: int = Field(default=0, ge=0)
    follow: bool = False
    width: int | None = Field(default=None, ge=16, le=16384)
    height: int | None = Field(default=None, ge=16, le=16384)
    exposure_us: float | None = Field(default=None, gt=0)
    gain: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    pixel_format: str | None = None
    trigger: str | None = Field(default=None, pattern=r"^(software|[A-Z][A-Za-z0-9_]*)$")
    part_from: str | None = Field(default=None, pattern=r"^(frame-id|chunk:[A-Za-z0-9_]+)$")
    rotate: Literal[0, 90, 180, 270] = 0
    roi: tuple[int, int, int, int] | None = None
    silence_ms: float = Field(default=2000, ge=0, allow_inf_nan=False)
    open_timeout_ms: float = Field(default=10_000, gt=0, allow_inf_nan=False)
    on_overload: Overload | None = None

    @property
    def overload(self) -> Overload:
        """What happens to a frame that the line has no time for: by default files wait, cameras do not."""
        if self.on_overload is not None:
            return self.on_overload
        return "block" if self.source.startswith(("replay:", "folder:", "file:")) else "drop_oldest"

    @field_validator("source")
    @classmethod
    def _check_source(cls, value: str) -> str:
        kind, _, rest = value.partition(":")
        if kind == "usb" and not (rest.startswith("/") or (rest.isascii() and rest.isdecimal())):
            raise ValueError("must be usb:NUMBER, such as usb:0, or usb:/dev/v4l/by-id/...")
        if kind == "feed":
            check_address(rest)
        return value

    @model_validator(mode="after")
    def _check_kind(self) -> CameraConfig:
        kind = self.source.partition(":")[0]
        if kind != "gige":
            for name in ("gain", "pixel_format", "part_from"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for GigE cameras (gige:ID) only")
            if self.trigger not in {None, "software"}:
                raise ValueError(f"a trigger from {self.trigger} is for GigE cameras (gige:ID) only")
        if self.trigger is not None and kind in {"replay", "folder", "file", "feed"}:
            raise ValueError("trigger is for live cameras only")
        return self

    @field_validator("roi")
    @classmethod
    def _check_roi(cls, value: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if value is not None and (min(value[:2]) < 0 or min(value[2:]) < 16):
            raise ValueError("must be x, y, width, height with x and y of 0 or more and sides of 16 or more")
        return value

    @field_validator("fps")
    @classmethod
    def _check_fps(cls, value: float | None) -> float | None:
        if value is not None and not 0 < value < float("inf"):
            raise ValueError("must be above 0 frames a second")
        return value


def redact(address: str) -> str:
    """Returns an address without its password."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", address)
