"""Takes orders while a line runs: another bundle or threshold, a pause, a picture. Remote clients need a key."""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import msgpack
import zmq

from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from engines.worker import Worker
from pipeline.flow.closing import CLOSE_S
from pipeline.flow.stage import OnFailure
from pipeline.protocol.orders import MOST_ORDER_BYTES, Answer, Order, read_order
from pipeline.protocol.sockets import has_listener
from pipeline.publish.bound_socket import BoundSocket
from pipeline.security.curve import THIS_MACHINE, Access

log = logging.getLogger(__name__)

_MOST_UNDER_WAY = 8
_POLL_MS = 100
_MOST_WAITING = 16
_LINGER_MS = 500


class ControlServer(Closing):
    """Takes orders and answers each.

    A new bundle or threshold takes a while; other orders, above all triggers, do not wait for it. The constructor binds
    the address; orders are taken from `start` on.

    Args:
        address: `ipc://` or a TCP address.
        access: who may give orders over TCP. A socket file is only for its user.

    Raises:
        ConfigError: the address is in use, cannot be bound, or would be open to everyone.
    """

    def __init__(self, address: str, access: Access = THIS_MACHINE) -> None:
        if address.startswith("ipc://"):
            _prepare(address)
            access = THIS_MACHINE
        options = {zmq.LINGER: _LINGER_MS, zmq.MAXMSGSIZE: MOST_ORDER_BYTES, zmq.RCVHWM: _MOST_WAITING}
        self._bound = BoundSocket(zmq.ROUTER, options, address, access, "the socket for orders", "[control]")
        self._socket, self._gate, self.address = self._bound.socket, self._bound.gate, self._bound.address
        self._over = threading.Event()
        self._slow = Worker("deploy")
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def start(self, obey: Callable[[Order], Answer], on_failure: OnFailure) -> None:
        """Starts to take orders.

        Args:
            obey: carries out an order and returns the answer.
            on_failure: called from the server's thread with the error that ended it; it takes no orders after that.
        """
        self._obey, self._on_failure = obey, on_failure
        self._thread.start()

    def drain(self) -> None:
        """Takes no more orders; orders under way are finished."""
        self._over.set()

    def close(self, deadline: float | None = None) -> None:
        """Ends the server and frees the address.

        Raises:
            TimeoutError: an order under way takes too long; it is left behind.
        """
        self.drain()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S if deadline is None else deadline)
            if self._thread.is_alive():
                raise TimeoutError("an order is still being carried out")
        self._bound.close()

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - the thread's last stop: reported, never swallowed
            self._on_failure("control", error)
        finally:
            self._slow.close()

    def _serve(self) -> None:
        under_way: list[tuple[list[bytes], Future[Answer]]] = []
        while not self._over.is_set() or under_way:
            self._gate.mind()
            if self._socket.poll(_POLL_MS) and not self._over.is_set():
                sender, message = self._receive()
                try:
                    order = read_order(message)
                except TaktlineError as error:
                    self._send(sender, {"ok": False, "error": str(error)})
                    continue
                if order.do not in {"deploy", "rollback", "threshold", "shadow"}:
                    self._send(sender, self._carry_out(order))
                elif len(under_way) >= _MOST_UNDER_WAY:
                    self._send(sender, {"ok": False, "error": "other orders are being carried out; try again"})
                else:
                    under_way.append((sender, self._slow.submit(partial(self._carry_out, order))))
            for sender, answer in [item for item in under_way if item[1].done()]:
                self._send(sender, answer.result())
            under_way = [item for item in under_way if not item[1].done()]

    def _receive(self) -> tuple[list[bytes], bytes | None]:
        """Returns the sender and the order; None if it is not one frame, or the sender's key was revoked."""
        frames = [self._socket.recv(copy=False)]
        while frames[-1].more:
            frame = self._socket.recv(copy=False)
            # A message with too many frames is read to its end but not kept.
            frames = [*frames[:3], frame]
        # REQ sends an empty frame first; DEALER may omit it.
        head = 2 if len(frames) > 2 and not len(frames[1]) else 1
        sender = [frame.bytes for frame in frames[:head]]
        message = frames[head] if len(frames) == head + 1 else None
        if message is None or len(message) > MOST_ORDER_BYTES or not self._gate.admits(message):
            return sender, None
        return sender, message.bytes

    def _send(self, sender: list[bytes], answer: Answer) -> None:
        self._socket.send_multipart([*sender, msgpack.packb(answer)])

    def _carry_out(self, order: Order) -> Answer:
        try:
            return {"ok": True} | self._obey(order)
        except TaktlineError as error:
            log.warning("the order %s was not carried out: %s", order.do, error)
            return {"ok": False, "error": str(error)}
        except Exception as error:
            # A bad bundle must not end the thread: the line continues as before.
            log.exception("the order %s failed", order.do)
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def _prepare(address: str) -> None:
    """Creates the socket file's folder, and refuses the name of a running line, which binding would replace."""
    path = Path(address.removeprefix("ipc://"))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"{path.parent} cannot be created ({reason}); set XDG_RUNTIME_DIR") from error
    if not has_listener(path):
        path.unlink(missing_ok=True)
        return
    raise ConfigError(f"a line of this name is already running ({address}); give this one another name under [line]")


def _check_owner(folder: Path) -> None:
    """Refuses a folder where another user could replace the line's socket."""
    found = folder.stat()
    if found.st_uid not in {os.getuid(), 0}:
        owner = f"belongs to another user (id {found.st_uid})"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        owner = f"may be written by other users; call: chmod go-w {folder}"
    else:
        return
    raise ConfigError(
        f"the folder {folder} of the socket for orders {owner}; or set XDG_RUNTIME_DIR, or bind under [control]"
    )
