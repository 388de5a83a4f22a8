"""An event: what a line noticed about one of its cameras, and its format on the wire."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

import msgpack
from pydantic import ConfigDict, Field, TypeAdapter

from pipeline.protocol.body import read_body
from pipeline.protocol.topics import MOST_TEXT_BYTES, Name, safe_text
from pipeline.protocol.verdict import Count, Sigma, Text, WireError

EVENT_TOPIC = "event."
EVENT_VERSION = 1

# The quantity that is about verdicts, and not about what good parts look like.
REJECTION = "rejection"

EventKind = Literal["moved", "further", "returned", "restarted"]
_Sentence = Annotated[str, Field(strict=True, max_length=MOST_TEXT_BYTES)]


@dataclass(frozen=True, slots=True)
class Event:
    """What the drift watch of a line noticed. It decides nothing: verdicts are as they would be without it.

    Attributes:
        line: name of the line.
        camera: name of the camera.
        kind: `moved`: good parts look different; `further`: twice as different as was said before; `returned`: they
            look as they did at calibration again; `restarted`: the watch began anew with another bundle, so what it
            said of this quantity before no longer holds.
        quantity: what moved: `score`, `rejection`, `brightness`, `contrast`, `sharpness`, `red`, `blue`, `x`, `y` or
            `rotation`.
        words: how far, such as `darker by 18 %`.
        remedy: what to do about it; empty if nothing is to be done.
        level: how far, in standard deviations of good parts.
        amount: how far, in `unit`; negative for darker, less, left, up and counterclockwise.
        unit: `%`, `px` (of the camera's frame), `degrees` or `sigma`.
        since_sequence: the frame with which it began, as far as that can be told.
        since_at: when that frame was captured, wall clock, nanoseconds since 1970 (UTC).
        sequence: the frame with which it was noticed.
        at: when that frame was captured, likewise.
        epoch: see `Verdict.epoch`; that of the newest verdict, empty before the first.
        bundle: first 12 digits of the sha256 of the bundle that knows what good parts look like.
    """

    line: Name
    camera: Name
    kind: EventKind
    quantity: Text
    words: _Sentence
    remedy: _Sentence
    level: Sigma
    amount: Sigma
    unit: Text
    since_sequence: Count
    since_at: Count
    sequence: Count
    at: Count
    epoch: Text
    bundle: Text

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """Returns the event as plain values, as in the body."""
        return {"v": EVENT_VERSION} | {field.name: getattr(self, field.name) for field in fields(self)}


_EVENT = TypeAdapter(Event)


def pack_event(event: Event) -> list[bytes]:
    """Returns an event as ZeroMQ message parts: topic and body.

    Raises:
        WireError: a number is not finite.
    """
    if not (math.isfinite(event.level) and math.isfinite(event.amount)):
        raise WireError(f"camera {event.camera}: how far {event.quantity} moved is not a finite number")
    return [f"{EVENT_TOPIC}{event.line}".encode(), bytes(msgpack.packb(event.to_json()))]


def unpack_event(parts: list[bytes]) -> Event:
    """Reads an event from ZeroMQ message parts.

    Raises:
        WireError: the message is not an event, or has another version.
    """
    if len(parts) != 2:
        raise WireError("a message is not an event; is this the address of a Taktline line?")
    return read_body(parts[1], "an event", EVENT_VERSION, _EVENT, MOST_TEXT_BYTES)


def event_sentence(event: Event) -> str:
    """Returns an event as a sentence for people, without the remedy."""
    if event.kind == "returned":
        return safe_text(f"camera {event.camera}: {event.quantity} is as at calibration again")
    if event.kind == "restarted":
        return safe_text(f"camera {event.camera}: another bundle runs, so the watch of {event.quantity} began anew")
    still = " (further than before)" if event.kind == "further" else ""
    return safe_text(f"camera {event.camera}: {event.words} since frame {event.since_sequence}{still}")
