"""Searches for a message that makes a reader do anything but raise its own error. By hand, as long as you like:

    pip install atheris
    python tests/fuzz/fuzz_messages.py -max_total_time=300 -rss_limit_mb=2048 -max_len=8192

Coverage leads the search (libFuzzer), from real messages on; a find is written into the working folder, and its name
given as an argument runs it alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
# msgpack reads in C by default; its Python twin lets the search see where it went.
os.environ["MSGPACK_PUREPYTHON"] = "1"
with atheris.instrument_imports(include=["msgpack", "pipeline"]):
    import msgpack

    from engines.errors import TaktlineError
    from pipeline.protocol import gap, orders, replay, verdict
from tests.pipeline.parts import decide

# msgpack never uses this byte, so that it can stand between the parts of a message.
_BETWEEN = b"\xc1"


def read(data: bytes) -> None:
    """Gives bytes to the reader that the first one chooses."""
    which, parts = data[:1], data[1:].split(_BETWEEN)
    try:
        if which < b"\x40":
            read_verdict, _ = verdict.unpack(parts)
            assert verdict.unpack(verdict.pack(read_verdict, None))[0] == read_verdict
        elif which < b"\x80":
            replay.unpack_answer(parts)
        elif which < b"\xc0":
            assert replay.request_id(parts[0]) >= 0
            replay.unpack_request(parts[0])
        else:
            orders.read_order(parts[0])
    except TaktlineError:
        return


def write_seeds(folder: Path) -> None:
    """Writes real messages for the search to begin with."""
    decided = decide("a", 0, "ng")
    message = verdict.pack(decided.verdict, decided.heatmap)
    request = replay.ReplayRequest.model_validate({"id": 1, "do": "read", "camera": "a", "epoch": "0", "to": 9})
    order = orders.Order(do="threshold", threshold=2.5)
    seeds = (
        b"\x00" + _BETWEEN.join(message),
        b"\x40" + _BETWEEN.join([*replay.pack_series(request, []), *message[1:]]),
        b"\x40" + _BETWEEN.join(replay.pack_page(request, [gap.Gap("a", "0", 3, 9, "damaged")], more=True)),
        b"\x40" + _BETWEEN.join(replay.pack_refusal(1, "later", 0.1)),
        b"\x80" + request.pack(),
        b"\xc0" + msgpack.packb(order.model_dump()),
    )
    for number, seed in enumerate(seeds):
        (folder / str(number)).write_bytes(seed)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as corpus:
        write_seeds(Path(corpus))
        given = sys.argv if any(not word.startswith("-") for word in sys.argv[1:]) else [*sys.argv, corpus]
        atheris.Setup(given, read)
        atheris.Fuzz()
