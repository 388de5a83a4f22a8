"""Gives orders to a running line."""

from __future__ import annotations

import time
from typing import Any

import msgpack
import zmq
from zmq.utils.monitor import recv_monitor_message

from engines.errors import TaktlineError
from pipeline.protocol.orders import MOST_ORDER_BYTES, Answer, Order
from pipeline.protocol.sockets import notice_dead_peers
from pipeline.security.curve import ClientKeys

_PROBE_MS = 500
_CONNECT_MS = 5_000
# For a bundle on a GPU, the line may have to build a plan first.
_PATIENCE_MS = 1_800_000


class NotReached(TaktlineError):
    """No line takes orders there, so the order was not given."""


class Refused(TaktlineError):
    """The line refused an order and continues as before."""


def tell_line(
    address: str,
    order: Order,
    patience_ms: int = _PATIENCE_MS,
    curve: ClientKeys | None = None,
    context: zmq.Context[zmq.Socket[bytes]] | None = None,
) -> Answer:
    """Gives a running line an order and waits until it is carried out.

    Args:
        address: the line's control socket.
        order: what to do.
        patience_ms: how long that may take. A line that dies in the meantime ends the wait at once.
        curve: for a line with keys.
        context: a ZeroMQ context that is shared by those who give orders side by side; None for one of its own.

    Raises:
        NotReached: no line takes orders there.
        Refused: the line refuses; the text repeats its reason.
        TaktlineError: the line died or does not answer in time; it may or may not have carried out the order.
    """
    own = zmq.Context() if context is None else None
    socket: zmq.Socket[bytes] = (own or context).socket(zmq.REQ)  # type: ignore[union-attr]
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, 16 * MOST_ORDER_BYTES)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDTIMEO, _PROBE_MS if curve is None else min(_CONNECT_MS, patience_ms))
    notice_dead_peers(socket)
    if curve is not None:
        curve.apply(socket)
    events = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
    try:
        _send(socket, address, order, curve is not None)
        if not _await_answer(socket, events, patience_ms):
            raise TaktlineError(
                f"the line at {address} went away before it answered; check whether it runs, and with which bundle"
            )
        answer = msgpack.unpackb(socket.recv(zmq.NOBLOCK), strict_map_key=True)
        if not isinstance(answer, dict) or socket.getsockopt(zmq.RCVMORE):
            raise ValueError("it is not a map")
    except zmq.ZMQError as error:
        waited = patience_ms / 1000
        raise TaktlineError(f"the line at {address} did not answer within {waited:g} s; ask for its status") from error
    except (ValueError, msgpack.UnpackException) as error:
        raise TaktlineError(
            f"the program at {address} is not a line of this version ({error}); use the same Taktline there"
        ) from error
    finally:
        socket.disable_monitor()
        events.close()
        socket.close()
        if own is not None:
            own.term()
    if not answer.pop("ok", False):
        raise Refused(f"the line refused and continues as before: {answer.get('error')}")
    return answer


def _send(socket: zmq.Socket[bytes], address: str, order: Order, has_keys: bool) -> None:
    try:
        socket.connect(address)
        socket.send(msgpack.packb({"v": order.v} | order.model_dump(exclude_defaults=True)))
    except zmq.ZMQError as error:
        check = "is running and allows this key" if has_keys else "runs under that name"
        raise NotReached(f"no line takes orders at {address}; check that it {check}") from error


def _await_answer(socket: zmq.Socket[Any], events: zmq.Socket[Any], patience_ms: int) -> bool:
    """Waits for an answer until time runs out or the line goes away; returns whether the line is still there.

    An answer that came just before the line went counts. If time runs out, the caller's receive will fail.
    """
    deadline = time.monotonic() + patience_ms / 1000
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(events, zmq.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        ready = dict(poller.poll(round(left * 1000) + 1))
        if socket in ready:
            return True
        gone = False
        # Only the last event counts: attempts to connect may have failed before the handshake.
        while events.poll(0):
            gone = recv_monitor_message(events)["event"] == zmq.EVENT_DISCONNECTED
        if gone and not socket.poll(0):
            return False
    return True
