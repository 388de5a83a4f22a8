"""Real messages, and strategies that make nonsense of them."""

from __future__ import annotations

import msgpack
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from pipeline.protocol.event import Event, pack_event
from pipeline.protocol.gap import Gap, pack_gap
from pipeline.protocol.orders import Order
from pipeline.protocol.replay import ReplayRequest
from pipeline.protocol.verdict import pack
from tests.pipeline.parts import decide

# The same examples every time, and none kept in a folder.
bounded = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
DECIDED = decide("a", 0, "ng")
VERDICT = pack(DECIDED.verdict, DECIDED.heatmap)
QUESTION = ReplayRequest.model_validate({"id": 1, "do": "read", "camera": "a", "epoch": "0", "to": 9}).pack()
ANSWER = msgpack.packb({"v": 2, "id": 1, "ok": True, "count": 1, "more": False})
GAP = pack_gap(Gap("a", "0", 3, 9, "damaged"))
EVENT = pack_event(Event("line", "a", "moved", "x", "far", "", 3.0, 12.0, "px", 1, 2, 3, 4, "0", "0123456789ab"))[1]
ORDER = msgpack.packb(Order(do="status").model_dump())
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=30) | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=9) | st.integers(0, 9), inner),
    max_leaves=30,
)
# Lengths that are promised and not kept, and nesting without end.
liars = st.sampled_from(
    [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
     b"\xc9\xff\xff\xff\xff\x00", b"\x91" * 1000, b"\x81\xa1a" * 700, b"\x81" * 1000, b"\xc1",
     b"\xd6\xff\x00\x00\x00\x00"]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A real message with some bytes changed, lost or doubled."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 2))
        if kind == 0 and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == 1:
            del data[at : at + draw(st.integers(1, 9))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 9))]
    return bytes(data)


@st.composite
def altered(draw: st.DrawFn, whole: bytes) -> bytes:
    """A real map with other values under some of its keys."""
    body = msgpack.unpackb(whole)
    changed = draw(st.dictionaries(st.sampled_from(sorted(body)) | st.text(max_size=5), values, min_size=1, max_size=3))
    return bytes(msgpack.packb(body | changed))


def messages(whole: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(st.binary(max_size=300), values.map(msgpack.packb), liars, damaged(whole), altered(whole))


def multiparts(whole: bytes) -> st.SearchStrategy[list[bytes]]:
    return st.lists(messages(whole), max_size=5)
