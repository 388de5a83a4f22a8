"""Orders to a running line."""

from __future__ import annotations

import msgpack
import zmq

from engines.errors import TaktlineError
from pipeline.protocol.orders import MOST_ORDER_BYTES, Answer, Order
from pipeline.protocol.sockets import notice_dead_peers
from pipeline.security.curve import ClientKeys

_PROBE_MS = 500
_CONNECT_MS = 5_000
# For a bundle on a GPU, the line may have to build its plan first.
_PATIENCE_MS = 1_800_000


def tell_line(address: str, order: Order, patience_ms: int = _PATIENCE_MS, curve: ClientKeys | None = None) -> Answer:
    """Gives a running line an order and waits until it is carried out.

    Args:
        address: the line's control socket.
        order: what to do.
        patience_ms: how long that may take.
        curve: for a line with keys.

    Raises:
        TaktlineError: no line answers, or the line refuses; the text repeats its reason.
    """
    context = zmq.Context()
    socket = context.socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, 16 * MOST_ORDER_BYTES)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDTIMEO, _PROBE_MS if curve is None else min(_CONNECT_MS, patience_ms))
    notice_dead_peers(socket)
    socket.setsockopt(zmq.RCVTIMEO, patience_ms)
    if curve is not None:
        curve.apply(socket)
    try:
        socket.connect(address)
        socket.send(msgpack.packb(order.model_dump()))
        answer = msgpack.unpackb(socket.recv(), strict_map_key=True)
        if not isinstance(answer, dict) or socket.getsockopt(zmq.RCVMORE):
            raise ValueError("it is not a map")
    except zmq.ZMQError as error:
        known = "is it running under that name?" if curve is None else "is it running, and does it allow this key?"
        raise TaktlineError(f"no line takes orders at {address}; {known}") from error
    except (ValueError, msgpack.UnpackException) as error:
        raise TaktlineError(f"what answers at {address} is no line ({error}); use the same Taktline there") from error
    finally:
        socket.close()
        context.term()
    if not answer.pop("ok", False):
        raise TaktlineError(f"the line refused and goes on as before: {answer.get('error')}")
    return answer
