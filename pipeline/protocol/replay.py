"""Requests for missed verdicts, and the line's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import msgpack
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from engines.validation import explain
from pipeline.protocol.entry import Entry
from pipeline.protocol.gap import Gap, join, pack_gap, unpack_gap
from pipeline.protocol.label import Label
from pipeline.protocol.topics import TOPIC, EpochId, Name
from pipeline.protocol.verdict import Heatmap, Verdict, WireError, unpack

REPLAY_VERSION: Literal[2] = 2
MOST_REQUEST_BYTES = 8 << 10
PAGE = 200

_Count = Annotated[int, Field(ge=0, lt=2**63, strict=True)]

_LABEL = TypeAdapter(Label)

Received = tuple[Verdict, Heatmap | None]


class ReplayRequest(BaseModel):
    """A request to a line's replay: `series` for what it holds of some cameras, `read` for a part of that.

    Attributes:
        v: version of the request.
        id: returned with the answer.
        do: the kind of request.
        cameras: for `series`: of these cameras; of all if empty.
        camera: for `read`: the camera's name.
        epoch: for `read`: see `Verdict.epoch`.
        first: for `read`: the first sequence wanted; `from` on the wire.
        last: for `read`: the last sequence wanted; `to` on the wire.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    v: Literal[2] = REPLAY_VERSION
    id: _Count
    do: Literal["series", "read"]
    cameras: tuple[Name, ...] = Field(default=(), max_length=64)
    camera: Name = "-"
    epoch: EpochId = "0"
    first: _Count = Field(default=0, alias="from")
    last: _Count = Field(default=0, alias="to")

    def pack(self) -> bytes:
        """Returns the request as bytes."""
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
    """The answer to a request.

    Attributes:
        id: the request's id.
        series: what the journal holds, each camera's epochs in the order they were published.
        items: the requested verdicts, as published, and the gaps between them.
        unreadable: number of omitted items that are neither a verdict nor a gap.
        more: whether there is more: ask again from the sequence after the last item.
        retry_s: seconds after which to ask again, if the line has no time now; otherwise None.
    """

    id: int
    series: tuple[Series, ...] = ()
    items: tuple[Received | Gap, ...] = ()
    unreadable: int = 0
    more: bool = False
    retry_s: float | None = None


def unpack_request(message: bytes) -> ReplayRequest:
    """Reads a request.

    Raises:
        WireError: the replay cannot answer it; refuse it with the id from `request_id`.
    """
    try:
        return ReplayRequest.model_validate(_values(message))
    except ValidationError as error:
        raise WireError(f"the replay cannot answer this ({explain(error)})") from error
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"the replay cannot answer this ({error})") from error


def request_id(message: bytes) -> int:
    """Returns the id of a request, even of one that cannot be answered; 0 if it has none."""
    try:
        values = _values(message)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return 0
    number = values.get("id") if isinstance(values, dict) else None
    return number if type(number) is int and 0 <= number < 2**63 else 0


def pack_series(request: ReplayRequest, series: Sequence[Series]) -> list[bytes]:
    """Returns the answer to `series` as message parts."""
    held = [[one.camera, one.epoch, one.first, one.last] for one in series]
    return [_header(request.id, series=held)]


def pack_page(
    request: ReplayRequest, items: Sequence[Entry | Gap], more: bool, labels: Mapping[int, Label] | None = None
) -> list[bytes]:
    """Returns the answer to `read` as message parts: a header, then two parts for each item.

    The two parts are the body and the heatmap (empty if there is none) of a verdict, or a gap and an empty part.
    Consecutive gaps with the same reason become one. Bodies are as published; labels are in the header, where older
    readers ignore them.

    Args:
        request: the request.
        items: what it asked for.
        more: whether there is more.
        labels: what people said about some of these verdicts, by sequence.
    """
    joined: list[Entry | Gap] = []
    for item in items:
        before = joined[-1] if joined else None
        both = join(before, item) if isinstance(before, Gap) and isinstance(item, Gap) else None
        if both is not None:
            joined[-1] = both
        else:
            joined.append(item)
    said = [[sequence, one.label, one.by, one.at, one.note] for sequence, one in (labels or {}).items()]
    parts = [_header(request.id, count=len(joined), more=more, **({"labels": said} if said else {}))]
    for item in joined:
        parts += [pack_gap(item), b""] if isinstance(item, Gap) else [item.body, item.heatmap or b""]
    return parts


def pack_refusal(number: int, why: str, retry_s: float | None = None) -> list[bytes]:
    """Returns the refusal of a request as message parts.

    Args:
        number: the request's id, from `request_id`.
        why: the reason, in one sentence.
        retry_s: the seconds after which asking again may help; None if it will not.
    """
    return [msgpack.packb({"v": REPLAY_VERSION, "id": number, "ok": False, "error": why, "retry_s": retry_s})]


def unpack_answer(parts: Sequence[bytes]) -> Answer:
    """Reads an answer.

    Raises:
        WireError: this is not an answer, or the line refused the request.
    """
    try:
        header = msgpack.unpackb(parts[0], strict_map_key=True, max_map_len=16, max_array_len=8192, max_str_len=1024)
        if header["v"] != REPLAY_VERSION:
            raise WireError(
                f"the replay uses version {header['v']!r} and this Taktline version {REPLAY_VERSION}; use the same "
                "version on both sides"
            )
        if not header["ok"]:
            if header["retry_s"] is None:
                raise WireError(f"the replay refused: {header['error']}")
            return Answer(int(header["id"]), retry_s=float(header["retry_s"]))
        series = tuple(Series(str(c), str(e), int(first), int(last)) for c, e, first, last in header.get("series", ()))
        found = [_item(parts[index : index + 2]) for index in range(1, len(parts), 2)]
        labels = {
            int(sequence): _LABEL.validate_python({"label": label, "by": by, "at": at, "note": note})
            for sequence, label, by, at, note in header.get("labels", ())
        }
        items = tuple(_labelled(item, labels) for item in found if item is not None)
        return Answer(int(header["id"]), series, items, len(found) - len(items), bool(header.get("more", False)))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, msgpack.UnpackException) as error:
        raise WireError(
            f"this answer is not from a replay ({error}); check that the address is that of [publish] replay"
        ) from error


def _values(message: bytes) -> Any:
    return msgpack.unpackb(
        message, strict_map_key=True, max_map_len=16, max_str_len=256, max_array_len=64, max_bin_len=0, max_ext_len=0
    )


def _header(number: int, **values: Any) -> bytes:
    return bytes(msgpack.packb({"v": REPLAY_VERSION, "id": number, "ok": True, **values}))


def _item(parts: Sequence[bytes]) -> Received | Gap | None:
    body, heatmap = parts
    try:
        return unpack([TOPIC.encode(), body, heatmap] if heatmap else [TOPIC.encode(), body])
    except WireError:
        # Gaps are rare: trying them second costs verdicts nothing.
        try:
            return unpack_gap(body)
        except WireError:
            return None


def _labelled(item: Received | Gap, labels: Mapping[int, Label]) -> Received | Gap:
    if isinstance(item, Gap) or item[0].sequence not in labels:
        return item
    return replace(item[0], label=labels[item[0].sequence]), item[1]
