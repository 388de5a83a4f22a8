"""What a subscriber asks for when it missed something, and what it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.validation import explain
from pipeline.protocol.entry import Entry
from pipeline.protocol.topics import TOPIC, Name
from pipeline.protocol.verdict import Heatmap, Verdict, WireError, unpack

REPLAY_VERSION = 1
MOST_REQUEST_BYTES = 8 << 10
PAGE = 200

_Count = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
_Epoch = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]

Received = tuple[Verdict, Heatmap | None]


class ReplayRequest(BaseModel):
    """A question to a line: `series`, what there is of some cameras; or `read`, a part of it.

    Attributes:
        v: version of the question.
        id: comes back with the answer.
        do: what is asked.
        cameras: for `series`: of these; of all when empty.
        camera: for `read`: its name.
        epoch: for `read`: see `Verdict.epoch`.
        first: for `read`: the first sequence that is wanted; `from` on the wire.
        last: for `read`: the last one; `to` on the wire.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    v: Literal[1] = 1
    id: _Count
    do: Literal["series", "read"]
    cameras: tuple[Name, ...] = Field(default=(), max_length=64)
    camera: Name = "-"
    epoch: _Epoch = "0"
    first: _Count = Field(default=0, alias="from")
    last: _Count = Field(default=0, alias="to")

    def pack(self) -> bytes:
        """Returns it as it is sent."""
        wanted = {"cameras"} if self.do == "series" else {"camera", "epoch", "first", "last"}
        return bytes(msgpack.packb(self.model_dump(by_alias=True, include={"v", "id", "do"} | wanted)))


@dataclass(frozen=True, slots=True)
class Series:
    """What a journal holds of one camera in one epoch: all sequences from `first` to `last`."""

    camera: str
    epoch: str
    first: int
    last: int


@dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Attributes:
        id: of the question.
        series: what there is, for each camera in the order in which it was published.
        items: the verdicts that were asked for, as they were published.
        more: whether there are more of them: ask again from the sequence after the last.
        retry_s: the line has no time now; ask again after so many seconds.
    """

    id: int
    series: tuple[Series, ...] = ()
    items: tuple[Received, ...] = ()
    more: bool = False
    retry_s: float | None = None


def unpack_request(message: bytes) -> ReplayRequest:
    """Reads a question.

    Raises:
        WireError: it is none.
    """
    try:
        values = msgpack.unpackb(
            message, strict_map_key=True, max_map_len=16, max_str_len=256, max_array_len=64, max_bin_len=0,
            max_ext_len=0,
        )  # fmt: skip
        return ReplayRequest.model_validate(values)
    except ValidationError as error:
        raise WireError(f"this is no question to a replay ({explain(error)})") from error
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"this is no question to a replay ({error})") from error


def pack_series(request: ReplayRequest, series: Sequence[Series]) -> list[bytes]:
    """Returns the answer to `series` as message parts."""
    held = [[one.camera, one.epoch, one.first, one.last] for one in series]
    return [_header(request.id, series=held)]


def pack_page(request: ReplayRequest, entries: Sequence[Entry], more: bool) -> list[bytes]:
    """Returns the answer to `read` as message parts: the header, then body and heatmap (or nothing) of each verdict."""
    parts = [_header(request.id, count=len(entries), more=more)]
    for entry in entries:
        parts += [entry.body, entry.heatmap or b""]
    return parts


def pack_refusal(number: int, why: str, retry_s: float | None = None) -> list[bytes]:
    """Returns as message parts that a question is not answered."""
    return [msgpack.packb({"v": REPLAY_VERSION, "id": number, "ok": False, "error": why, "retry_s": retry_s})]


def unpack_answer(parts: Sequence[bytes]) -> Answer:
    """Reads an answer.

    Raises:
        WireError: it is none, or the line refused the question.
    """
    try:
        header = msgpack.unpackb(parts[0], strict_map_key=True, max_map_len=16, max_array_len=8192, max_str_len=1024)
        if header["v"] != REPLAY_VERSION:
            raise WireError(f"the replay speaks version {header['v']!r} and this Taktline version {REPLAY_VERSION}")
        if not header["ok"]:
            if header["retry_s"] is None:
                raise WireError(f"the replay refused: {header['error']}")
            return Answer(int(header["id"]), retry_s=float(header["retry_s"]))
        series = tuple(Series(str(c), str(e), int(first), int(last)) for c, e, first, last in header.get("series", ()))
        items = tuple(_item(parts[index : index + 2]) for index in range(1, len(parts), 2))
        return Answer(int(header["id"]), series, items, bool(header.get("more", False)))
    except (KeyError, IndexError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise WireError(f"this is no answer of a replay ({error}); is this the address of [publish] replay?") from error


def _header(number: int, **values: Any) -> bytes:
    return bytes(msgpack.packb({"v": REPLAY_VERSION, "id": number, "ok": True, **values}))


def _item(parts: Sequence[bytes]) -> Received:
    body, heatmap = parts
    return unpack([TOPIC.encode(), body, heatmap] if heatmap else [TOPIC.encode(), body])
