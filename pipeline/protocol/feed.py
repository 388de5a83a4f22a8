"""Messages of a feed: frames from another program on this machine."""

from __future__ import annotations

from typing import Annotated, Literal

import msgpack
import zmq
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationError

from engines.errors import DataError
from engines.validation import explain

FEED_VERSION = 1
# How many messages wait at either end of the connection: enough for a hiccup, and little memory.
FEED_HIGH_WATER_MARK = 16
_MOST_HEADER_BYTES = 4096

Side = Annotated[StrictInt, Field(ge=1, le=65536)]


class FeedHeader(BaseModel):
    """The first part of a message; the second holds the picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1]
    part: Annotated[StrictStr, Field(max_length=256)] | None = None
    captured: Annotated[StrictInt, Field(ge=0)] | None = None
    shape: tuple[Side, Side] | tuple[Side, Side, Literal[1, 3]] | None = None


def read_header(message: list[zmq.Frame]) -> FeedHeader:
    """Reads the header of a message.

    Raises:
        DataError: the message is not a frame; the text lacks its subject.
    """
    if len(message) != 2:
        raise DataError(f"has {len(message)} parts; a frame has a header and a picture")
    if len(message[0]) > _MOST_HEADER_BYTES:
        raise DataError(f"has a header of {len(message[0])} bytes, which is too long")
    try:
        values = msgpack.unpackb(message[0].bytes, strict_map_key=True, max_map_len=8, max_array_len=3)
        return FeedHeader.model_validate(values)
    except ValidationError as error:
        raise DataError(f"has an invalid header ({explain(error)})") from error
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise DataError("has a header that is not msgpack") from error
