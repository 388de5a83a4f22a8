"""A gap: verdicts that a subscriber will never get, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgpack
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.protocol.entry import Entry
from pipeline.protocol.topics import EpochId, Name
from pipeline.protocol.verdict import Count, VersionError, WireError, unpack

Why = Literal["damaged", "version", "gone"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of lost verdicts of one camera and epoch.

    Attributes:
        camera: see `Verdict.camera`.
        epoch: see `Verdict.epoch`.
        first: sequence of the first one; `from` on the wire.
        last: sequence of the last one; `to` on the wire.
        why: `damaged` if the journal cannot read them, `version` if they have another wire version, `gone` if the
            journal does not hold them (any more) or there is no replay to ask.
    """

    camera: Name
    epoch: EpochId
    first: Annotated[Count, Field(alias="from")]
    last: Annotated[Count, Field(alias="to")]
    why: Why

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    @property
    def count(self) -> int:
        """Number of missing verdicts."""
        return self.last - self.first + 1


_GAP = TypeAdapter(Gap)


def checked(entry: Entry) -> Entry | Gap:
    """Returns a journal's entry, or a gap in its place if no subscriber of this version could read it."""
    why: Why = "damaged"
    # SQLite does not enforce column types: a damaged row may contain anything.
    if isinstance(entry.body, bytes) and isinstance(entry.heatmap, bytes | None):
        try:
            verdict, _ = unpack(entry.parts)
            if (verdict.camera, verdict.epoch, verdict.sequence) == (entry.camera, entry.epoch, entry.sequence):
                return entry
        except VersionError:
            why = "version"
        except WireError:
            pass
    return Gap(entry.camera, entry.epoch, entry.sequence, entry.sequence, why)


def join(gap: Gap, other: Gap) -> Gap | None:
    """Joins two gaps if the second follows the first for the same reason; returns None otherwise."""
    follows = (gap.camera, gap.epoch, gap.last + 1, gap.why) == (other.camera, other.epoch, other.first, other.why)
    return Gap(gap.camera, gap.epoch, gap.first, other.last, gap.why) if follows else None


def pack_gap(gap: Gap) -> bytes:
    """Returns a gap's bytes, which take the place of a verdict's body in a page of the replay."""
    values: dict[str, Any] = {"gap": True, "camera": gap.camera, "epoch": gap.epoch}
    return bytes(msgpack.packb(values | {"from": gap.first, "to": gap.last, "why": gap.why}))


def unpack_gap(body: bytes) -> Gap:
    """Reads a gap.

    Raises:
        WireError: the body is not a gap.
    """
    try:
        values = msgpack.unpackb(
            body, strict_map_key=True, max_map_len=8, max_str_len=256, max_array_len=0, max_bin_len=0, max_ext_len=0
        )
        if not isinstance(values, dict) or values.pop("gap", None) is not True:
            raise WireError("a body is neither a verdict nor a gap")
        gap = _GAP.validate_python(values)
    except (ValidationError, ValueError, msgpack.UnpackException) as error:
        raise WireError("a gap of a page cannot be read; use the same Taktline on both sides") from error
    if gap.last < gap.first:
        raise WireError("a gap of a page ends before it begins")
    return gap
