"""Orders to a running line, and its answers."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import msgpack
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.errors import TaktlineError
from engines.validation import explain

CONTROL_VERSION = 1
MOST_ORDER_BYTES = 64 << 10
# Far beyond any score: a larger threshold is a typing mistake.
MOST_SIGMA = 1000.0
MOST_SHADOW_PARTS = 10_000


class Order(BaseModel):
    """An order to a line.

    Attributes:
        v: version of the order.
        do: what to do.
        bundle: for `deploy` and `shadow`: the folder of the new bundle.
        other_part: for `deploy`: whether the bundle may be made for another part.
        sha256: for `deploy`: the bundle that is meant; any other in that folder is refused. None for whichever it is.
        parts: for `shadow`: how many parts the bundle judges beside the running one.
        start: for `report-shadow`: from which of these parts on.
        threshold: for `threshold`: in sigma, from -1000 to 1000.
        camera: for `trigger`: the camera that takes a picture.
        part: for `trigger`: id of the part, which its verdict will carry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    do: Literal["deploy", "rollback", "threshold", "pause", "resume", "status", "trigger",
                "shadow", "cancel-shadow", "report-shadow"]  # fmt: skip
    bundle: str | None = None
    other_part: bool = False
    sha256: str | None = Field(default=None, max_length=64)
    parts: int | None = Field(default=None, ge=1, le=MOST_SHADOW_PARTS)
    start: int = Field(default=0, ge=0, le=MOST_SHADOW_PARTS)
    threshold: float | None = Field(default=None, ge=-MOST_SIGMA, le=MOST_SIGMA, allow_inf_nan=False)
    camera: str | None = None
    part: str | None = Field(default=None, max_length=256)


Answer = dict[str, Any]


def control_address(line: str) -> str:
    """Returns the address where a line of this name takes orders: a socket file that only its owner can open."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(own) / "taktline" if own else Path(tempfile.gettempdir()) / f"taktline-{os.getuid()}"
    return f"ipc://{folder / line}.control"


def read_order(message: bytes | None) -> Order:
    """Reads an order from outside.

    Raises:
        TaktlineError: it is not an order.
    """
    try:
        if message is None:
            raise ValueError("it is not a single frame, or its sender may not give orders")
        values = msgpack.unpackb(
            message, strict_map_key=True, max_map_len=16, max_str_len=4096, max_array_len=0, max_bin_len=0,
            max_ext_len=0,
        )  # fmt: skip
        return Order.model_validate(values)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        why = explain(error) if isinstance(error, ValidationError) else str(error)
        raise TaktlineError(f"this is not an order ({why}); use the Taktline that runs the line") from error
