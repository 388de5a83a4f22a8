"""Orders to a running line: another bundle or threshold, a pause, a picture. From elsewhere only with a key."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import msgpack
import zmq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from pipeline.delivery.curve import THIS_MACHINE, Access, ClientKeys, Gate
from pipeline.delivery.sockets import notice_dead_peers
from pipeline.verdicts import first_mistake

log = logging.getLogger(__name__)

CONTROL_VERSION = 1
_MOST_BYTES = 64 << 10
_MOST_UNDER_WAY = 8
_POLL_MS = 100
_PROBE_MS = 500
_KNOCK_MS = 5_000
# A bundle for a GPU may have its plan built first.
_PATIENCE_MS = 1_800_000
_MOST_WAITING = 16


class Order(BaseModel):
    """What a line is told.

    Attributes:
        v: version of the order.
        do: what to do.
        bundle: for `deploy`: the folder of the new bundle.
        threshold: for `threshold`: in sigma.
        camera: for `trigger`: the camera that is to take a picture.
        part: for `trigger`: id of the part, which its verdict will carry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    do: Literal["deploy", "threshold", "pause", "resume", "status", "trigger"]
    bundle: str | None = None
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    camera: str | None = None
    part: str | None = Field(default=None, max_length=256)


Answer = dict[str, Any]


def control_address(line: str) -> str:
    """Returns where a line of this name takes orders: a socket file that only its user may open."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(own) / "taktline" if own else Path(tempfile.gettempdir()) / f"taktline-{os.getuid()}"
    return f"ipc://{folder / line}.control"


class ControlServer(Closing):
    """Takes orders and answers each.

    A new bundle or threshold takes its time; other orders, a trigger above all, do not wait for it.

    Args:
        address: `ipc://` or a TCP address.
        obey: carries an order out and returns what to answer.
        on_failure: told, from the server's thread, what ended it; no order is taken after that.
        access: who may give orders over TCP; the right to a socket file is its user's.

    Raises:
        ConfigError: the address is taken, cannot be bound, or would be open to everybody.
    """

    def __init__(
        self,
        address: str,
        obey: Callable[[Order], Answer],
        on_failure: Callable[[str, Exception], None],
        access: Access = THIS_MACHINE,
    ) -> None:
        if address.startswith("ipc://"):
            _prepare(address)
            access = THIS_MACHINE
        self._obey, self._on_failure = obey, on_failure
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 500)
        self._socket.setsockopt(zmq.MAXMSGSIZE, _MOST_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, _MOST_WAITING)
        notice_dead_peers(self._socket)
        try:
            self._gate = Gate(self._socket, address, access, "the socket for orders", "[control]")
        except BaseException:
            self._socket.close()
            self._context.term()
            raise
        self.address = self._gate.address
        self._over = threading.Event()
        self._slow = ThreadPoolExecutor(1, "deploy")
        self._thread = threading.Thread(target=self._run, name="control")
        self._thread.start()

    def close(self) -> None:
        """Takes no more orders; those that are being carried out are finished."""
        self._over.set()
        self._thread.join()
        self._gate.close()
        self._socket.close()
        self._context.term()

    def _run(self) -> None:
        try:
            self._serve()
        except Exception as error:  # noqa: BLE001 - the thread's last stop: reported, never swallowed
            self._on_failure("control", error)
        finally:
            self._slow.shutdown()

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
                if order.do not in {"deploy", "threshold"}:
                    self._send(sender, self._carry_out(order))
                elif len(under_way) >= _MOST_UNDER_WAY:
                    self._send(sender, {"ok": False, "error": "other orders are being carried out; try again"})
                else:
                    under_way.append((sender, self._slow.submit(self._carry_out, order)))
            for sender, answer in [item for item in under_way if item[1].done()]:
                self._send(sender, answer.result())
            under_way = [item for item in under_way if not item[1].done()]

    def _receive(self) -> tuple[list[bytes], bytes | None]:
        """Returns whom to answer, and an order's bytes: None where it is no single frame, or its sender is revoked."""
        frames = [self._socket.recv(copy=False)]
        while frames[-1].more:
            frame = self._socket.recv(copy=False)
            # What is too long is read to its end, and not kept.
            frames = [*frames[:3], frame]
        # REQ puts an empty frame between; DEALER need not.
        head = 2 if len(frames) > 2 and not len(frames[1]) else 1
        sender = [frame.bytes for frame in frames[:head]]
        message = frames[head] if len(frames) == head + 1 else None
        if message is None or len(message) > _MOST_BYTES or not self._gate.admits(message):
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
            # Whatever is wrong with a new bundle must not end the thread: the line goes on as it was.
            log.exception("the order %s failed", order.do)
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def read_order(message: bytes | None) -> Order:
    """Reads an order as it came from outside.

    Raises:
        TaktlineError: it is none.
    """
    try:
        if message is None:
            raise ValueError("it is not one frame from somebody who may give it")
        values = msgpack.unpackb(
            message, strict_map_key=True, max_map_len=16, max_str_len=4096, max_array_len=0, max_bin_len=0,
            max_ext_len=0,
        )  # fmt: skip
        return Order.model_validate(values)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        why = first_mistake(error) if isinstance(error, ValidationError) else str(error)
        raise TaktlineError(f"this is no order ({why}); use the Taktline that runs the line") from error


def tell_line(address: str, order: Order, patience_ms: int = _PATIENCE_MS, curve: ClientKeys | None = None) -> Answer:
    """Gives a running line an order and waits until it is carried out.

    Args:
        address: of its control socket.
        order: what it is told.
        patience_ms: how long it may take.
        curve: for a line that takes orders from those only that it knows.

    Raises:
        TaktlineError: nobody is there, or the line refuses; the text has its words.
    """
    context = zmq.Context()
    socket = context.socket(zmq.REQ)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, 16 * _MOST_BYTES)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.SNDTIMEO, _PROBE_MS if curve is None else min(_KNOCK_MS, patience_ms))
    notice_dead_peers(socket)
    socket.setsockopt(zmq.RCVTIMEO, patience_ms)
    if curve is not None:
        curve.apply(socket)
    try:
        socket.connect(address)
        socket.send(msgpack.packb(order.model_dump()))
        answer = msgpack.unpackb(socket.recv(), strict_map_key=True)
        if not isinstance(answer, dict) or socket.getsockopt(zmq.RCVMORE):
            raise ValueError("it is no map")
    except zmq.ZMQError as error:
        known = "is it running under that name?" if curve is None else "is it running, and does it allow this key?"
        raise TaktlineError(f"no line takes orders at {address}; {known}") from error
    except (ValueError, msgpack.UnpackException) as error:
        raise TaktlineError(f"what answers at {address} is no line ({error}); use the same Taktline there") from error
    finally:
        socket.close()
        context.term()
    if not answer.pop("ok", False):
        raise TaktlineError(f"the line did not do it and goes on as before: {answer.get('error')}")
    return answer


def _prepare(address: str) -> None:
    """Makes the socket file's folder, and refuses a name that a running line has: binding would take it over."""
    path = Path(address.removeprefix("ipc://"))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path.parent} cannot be made ({error.strerror or error}); set XDG_RUNTIME_DIR") from error
    if not path.exists():
        return
    try:
        tell_line(address, Order(do="status"), _PROBE_MS)
    except TaktlineError:
        path.unlink(missing_ok=True)
        return
    raise ConfigError(f"a line of this name is running ({address}); give this one another name under [line]")
