"""Gives orders to many lines side by side, each with a time limit."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import zmq

from engines.bundle import Bundle
from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from engines.worker import Worker
from pipeline.client.orders import NotReached, Refused, tell_line
from pipeline.config.lines_file import KnownLine
from pipeline.protocol.orders import Order
from pipeline.security.curve import ClientKeys

_MOST_AT_ONCE = 128
_IO_THREADS = 2

Came = Literal["done", "refused", "not reached", "unknown"]


@dataclass(frozen=True)
class Reply:
    """What came of an order to one line.

    Attributes:
        line: its name.
        came: `done`; `refused` or `not reached` if the line continues as before; `unknown` if it did not answer in time
            or went away, so that it may have carried out the order.
        status: the line's status after it; empty unless done.
        why: a sentence, unless done.
    """

    line: str
    came: Came
    status: dict[str, Any]
    why: str = ""


Told = Callable[[Reply], None]


class Fleet(Closing):
    """The lines of a plant. A context manager.

    Args:
        lines: how to reach them.

    Attributes:
        lines: the same by name, in order.

    Raises:
        ConfigError: a line takes no orders, or its keys cannot be used.
    """

    def __init__(self, lines: Sequence[KnownLine]) -> None:
        self.lines = {line.name: line for line in lines}
        self._reach: dict[str, tuple[str, ClientKeys | None]] = {}
        for line in lines:
            address = line.control_address
            if address is None:
                raise ConfigError(f'the line {line.name} takes no orders: control = "none"; give its address')
            self._reach[line.name] = address, line.read_keys()
        # A context for each would take a thousand open files.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(_IO_THREADS)
        # Sockets: each order has one of its own, and a pair to see whether the line goes away.
        self._context.max_sockets = 4 * _MOST_AT_ONCE
        self._worker = Worker("fleet", min(_MOST_AT_ONCE, max(1, len(lines))))

    def give(self, orders: Mapping[str, Order], limit_s: float, told: Told | None = None) -> dict[str, Reply]:
        """Gives orders, waits for all answers, and returns them by line.

        Args:
            orders: by the line's name.
            limit_s: how long each line may take.
            told: called with each answer when it comes.
        """
        replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        for name, order in orders.items():
            self._worker.submit(partial(self._give, name, order, limit_s, replies.put))
        found: dict[str, Reply] = {}
        while len(found) < len(orders):
            reply = replies.get()
            found[reply.line] = reply
            if told is not None:
                told(reply)
        return {name: found[name] for name in orders}

    def ask(self, names: Iterable[str], limit_s: float, told: Told | None = None) -> dict[str, Reply]:
        """Asks lines for their status; arguments are those of `give`."""
        return self.give({name: Order(do="status") for name in names}, limit_s, told)

    def deploys(self, bundle: Bundle, other_part: bool, names: Iterable[str] | None = None) -> dict[str, Order]:
        """Returns orders to switch to a bundle: only this one, wherever a line finds it.

        Args:
            bundle: as it lies on this machine. A line finds it in its folder of bundles if it has one, and otherwise at
                the same path.
            other_part: whether it may be made for another part.
            names: of these lines; None for all.
        """
        path = bundle.path.resolve()
        folders = {name: self.lines[name].bundles for name in (self.lines if names is None else names)}
        return {
            name: Order(
                do="deploy", bundle=str(path if folder is None else folder / path.name), sha256=bundle.sha256,
                other_part=other_part,
            )
            for name, folder in folders.items()
        }  # fmt: skip

    def close(self) -> None:
        """Ends the threads and closes the sockets."""
        self._worker.close()
        self._context.term()

    def _give(self, name: str, order: Order, limit_s: float, put: Told) -> None:
        address, keys = self._reach[name]
        try:
            answer = tell_line(address, order, round(limit_s * 1000), keys, self._context)
            put(Reply(name, "done", answer.get("status", {})))
        except NotReached as error:
            put(Reply(name, "not reached", {}, str(error)))
        except Refused as error:
            put(Reply(name, "refused", {}, str(error)))
        except TaktlineError as error:
            put(Reply(name, "unknown", {}, str(error)))
        except Exception as error:  # noqa: BLE001 - whoever waits for it would wait forever
            put(Reply(name, "unknown", {}, f"the order failed ({type(error).__name__}: {error})"))
