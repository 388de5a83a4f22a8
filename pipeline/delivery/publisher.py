"""The last stage: verdicts go out over ZeroMQ PUB/SUB."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time

import zmq

from engines.closing import Closing
from engines.errors import ConfigError, TaktlineError
from pipeline.channel import Channel, ChannelClosed
from pipeline.health import Tally
from pipeline.judge import Decided
from pipeline.stage import Stage
from pipeline.verdicts import pack

log = logging.getLogger(__name__)

HIGH_WATER_MARK = 100_000
LINGER_MS = 2_000
_HEARTBEAT_MS = 5_000
_POLL_MS = 100


class PublisherSocket(Closing):
    """A bound socket that verdicts are published on.

    It is an XPUB: a PUB that also sees who subscribes, so that a line can wait for its listeners. PUB/SUB alone
    loses what a subscriber was not there for, or too slow for.

    Raises:
        ConfigError: the address cannot be bound.
    """

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        self._socket.setsockopt(zmq.LINGER, LINGER_MS)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            why = "is in use by another program" if error.errno == zmq.EADDRINUSE else f"is refused ({error.strerror})"
            raise ConfigError(f"the address {address} {why}; give another one to publish verdicts on") from error
        self._subscriptions = 0

    @property
    def address(self) -> str:
        """The bound address, with the port that was chosen where 0 was asked for."""
        return bytes(self._socket.getsockopt(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def await_subscribers(self, count: int, timeout: float, stop: threading.Event) -> None:
        """Waits until so many subscribers are there, or `stop` is set.

        Raises:
            TaktlineError: they did not come in time.
        """
        deadline = time.monotonic() + timeout
        while self._subscriptions < count and not stop.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TaktlineError(
                    f"{self._subscriptions} of {count} subscribers came to {self.address} within "
                    f"{timeout:g} s; start them, or wait for fewer"
                )
            if self._socket.poll(min(int(left * 1000) + 1, _POLL_MS)):
                self._note_subscriptions()

    def send(self, parts: list[bytes]) -> None:
        """Sends a message; never waits for a subscriber."""
        self._socket.send_multipart(parts)
        self._note_subscriptions()

    def close(self) -> None:
        """Closes the socket once what was sent is out, or after two seconds."""
        self._socket.close()
        self._context.term()

    def _note_subscriptions(self) -> None:
        while self._socket.poll(0):
            message = self._socket.recv()
            if message[:1] == b"\x01":
                self._subscriptions += 1
            elif message[:1] == b"\x00":
                self._subscriptions -= 1


class Publisher(Stage):
    """Publishes verdicts, and hands them on to whoever watches within the process."""

    def __init__(
        self, socket: PublisherSocket, inbox: Channel[Decided], outbox: Channel[Decided] | None, tally: Tally
    ) -> None:
        super().__init__("publisher")
        self._socket, self._inbox, self._outbox, self._tally = socket, inbox, outbox, tally

    def work(self) -> None:
        """Publishes until there are no more verdicts."""
        while True:
            decided = self._inbox.get()
            latency = dataclasses.replace(decided.verdict.latency, publish=time.monotonic_ns() - decided.decided)
            decided.verdict = dataclasses.replace(decided.verdict, latency=latency)
            self._socket.send(pack(decided.verdict, decided.heatmap))
            self._tally.answered(decided.verdict)
            if self._outbox is not None:
                try:
                    self._outbox.put(decided)
                except ChannelClosed:
                    # Whoever watched has gone; the verdicts still go out.
                    self._outbox = None

    def finish(self) -> None:
        """Ends what is handed on."""
        if self._outbox is not None:
            self._outbox.close()
