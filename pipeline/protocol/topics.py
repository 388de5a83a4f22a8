"""Names on the wire: valid names of lines and cameras, the topic of a verdict, and text from outside."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

TOPIC = "verdict."

EpochId = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]

MOST_TEXT_BYTES = 4096


def safe_text(text: str) -> str:
    """Returns text that every reader of the wire can read.

    Python represents bytes of a file name that are not UTF-8 as surrogates, which no message can carry. Each is
    replaced by its number, as in `caf\\xe9.png`. Text longer than 4096 bytes is cut off.
    """
    if text.isascii() and len(text) <= MOST_TEXT_BYTES:
        return text
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Half a surrogate pair, which does not stand for a byte of a file name.
        raw = text.encode("utf-8", "surrogatepass")
    readable = raw.decode("utf-8", "backslashreplace").encode()
    return readable[:MOST_TEXT_BYTES].decode("utf-8", "ignore")
