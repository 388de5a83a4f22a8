"""Names on the wire: what lines and cameras may be called, the topic of a verdict, and text from outside."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

TOPIC = "verdict."

EpochId = Annotated[str, Field(pattern=r"^[0-9a-f]{1,32}$")]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]

MOST_TEXT_BYTES = 4096


def safe_text(text: str) -> str:
    """Returns text that every reader of the wire can read.

    Python holds the bytes of a file name that are not UTF-8 as surrogates, which no message can carry: each becomes its
    number, as in `caf\\xe9.png`. What is longer than 4096 bytes is cut off.
    """
    if text.isascii() and len(text) <= MOST_TEXT_BYTES:
        return text
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Half a pair, which stands for no byte of a file name either.
        raw = text.encode("utf-8", "surrogatepass")
    readable = raw.decode("utf-8", "backslashreplace").encode()
    return readable[:MOST_TEXT_BYTES].decode("utf-8", "ignore")
