"""Reads the body of what a line publishes beside its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgpack
from pydantic import TypeAdapter, ValidationError

from engines.validation import explain
from pipeline.protocol.verdict import VersionError, WireError

T = TypeVar("T")
_NOTHING: Mapping[str, Any] = {}


def read_body(
    data: bytes,
    what: str,
    version: int,
    adapter: TypeAdapter[T],
    most_text: int,
    most_items: int = 0,
    more: Mapping[str, Any] = _NOTHING,
) -> T:
    """Reads a msgpack map with a version, and checks its values.

    Args:
        data: the message part.
        what: what the message should be, such as `an event`.
        version: the version that this Taktline reads.
        adapter: checks the values.
        most_text: the most bytes in a text.
        most_items: the most items in a list.
        more: values that stand in other parts of the message.

    Raises:
        WireError: it is no such message, or has another version.
    """
    try:
        body = msgpack.unpackb(
            data, strict_map_key=True, max_map_len=64, max_str_len=most_text, max_array_len=most_items, max_bin_len=0,
            max_ext_len=0,
        )  # fmt: skip
        found = body.pop("v")
        if found != version:
            raise VersionError(
                f"{what} has version {found!r} and this Taktline reads version {version}; use the same version on both "
                "sides"
            )
        return adapter.validate_python({**body, **more})
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException) as error:
        why = explain(error) if isinstance(error, ValidationError) else f"it is not a map of {what}'s values"
        raise WireError(f"a message is not {what} ({why}); use the same Taktline on both sides") from error
