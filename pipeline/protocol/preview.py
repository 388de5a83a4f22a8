"""A preview: a small picture of a frame, for people who look at the line, and its format on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgpack
from pydantic import ConfigDict, Field, TypeAdapter

from pipeline.protocol.body import read_body
from pipeline.protocol.topics import EpochId, Name
from pipeline.protocol.verdict import Count, WireError

PREVIEW_TOPIC = "preview."
PREVIEW_VERSION = 1
MOST_SIDE = 480
_MOST_JPEG_BYTES = 1 << 20

_Pixels = Annotated[int, Field(strict=True, ge=1, le=1 << 20)]


@dataclass(frozen=True, slots=True)
class Preview:
    """A small picture of a frame.

    Attributes:
        camera: see `Verdict.camera`.
        epoch: see `Verdict.epoch`.
        sequence: see `Verdict.sequence`; with camera and epoch, it names the verdict that this shows.
        captured_at: see `Verdict.captured_at`.
        w: width of the picture, at most 480 pixels.
        h: its height, at most 480 pixels.
        frame_w: width of the whole frame, in pixels.
        frame_h: its height.
        jpeg: the picture.
    """

    camera: Name
    epoch: EpochId
    sequence: Count
    captured_at: Count
    w: _Pixels
    h: _Pixels
    frame_w: _Pixels
    frame_h: _Pixels
    jpeg: bytes

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def scale(self) -> tuple[float, float]:
        """How many pixels of the frame are one of the picture, across and down."""
        return self.frame_w / self.w, self.frame_h / self.h


_PREVIEW = TypeAdapter(Preview)


def pack_preview(preview: Preview) -> list[bytes]:
    """Returns a preview as ZeroMQ message parts: topic, body and JPEG."""
    body = {
        "v": PREVIEW_VERSION,
        "camera": preview.camera,
        "epoch": preview.epoch,
        "sequence": preview.sequence,
        "captured_at": preview.captured_at,
        "w": preview.w,
        "h": preview.h,
        "frame_w": preview.frame_w,
        "frame_h": preview.frame_h,
    }
    return [f"{PREVIEW_TOPIC}{preview.camera}".encode(), bytes(msgpack.packb(body)), preview.jpeg]


def unpack_preview(parts: list[bytes]) -> Preview:
    """Reads a preview from ZeroMQ message parts.

    Raises:
        WireError: the message is not a preview, or has another version.
    """
    if len(parts) != 3 or len(parts[2]) > _MOST_JPEG_BYTES:
        raise WireError("a message is not a preview; is this the address of a Taktline line?")
    return read_body(parts[1], "a preview", PREVIEW_VERSION, _PREVIEW, 256, 64, {"jpeg": parts[2]})
