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


def tell_line(address: str, order: Order, patience_ms: int = _PATIENCE_MS, curve: ClientKeys | None = None) -> Answer:
    """Gives a running line an order and waits until it is carried out.

    Args:
        address: the line's control socket.
        order: what to do.
        patience_ms: how long that may take. A line that dies in the meantime ends the wait at once.
        curve: for a line with keys.

    Raises:
        TaktlineError: no line answers, the line died, or the line refuses; the text repeats its reason.
    """
    context = zmq.Context()
    socket = context.socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, 16 * MOST_ORDER_BYTES)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDTIMEO, _PROBE_MS if curve is None else min(_CONNECT_MS, patience_ms))
    notice_dead_peers(socket)
    if curve is not None:
        curve.apply(socket)
    events = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
    try:
        socket.connect(address)
        socket.send(msgpack.packb({"v": order.v} | order.model_dump(exclude_defaults=True)))
        if not _await_answer(socket, events, patience_ms):
            raise TaktlineError(
                f"the line at {address} went away before it answered; check whether it runs, and with which bundle"
            )
        answer = msgpack.unpackb(socket.recv(zmq.NOBLOCK), strict_map_key=True)
        if not isinstance(answer, dict) or socket.getsockopt(zmq.RCVMORE):
            raise ValueError("it is not a map")
    except zmq.ZMQError as error:
        check = "runs under that name" if curve is None else "is running and allows this key"
        raise TaktlineError(f"no line takes orders at {address}; check that it {check}") from error
    except (ValueError, msgpack.UnpackException) as error:
        raise TaktlineError(
            f"the program at {address} is not a line of this version ({error}); use the same Taktline there"
        ) from error
    finally:
        socket.disable_monitor()
        events.close()
        socket.close()
        context.term()
    if not answer.pop("ok", False):
        raise TaktlineError(f"the line refused and continues as before: {answer.get('error')}")
    return answer


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
