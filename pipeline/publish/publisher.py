"""The last stage: publishes verdicts, and previews, over ZeroMQ PUB/SUB."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

import zmq

from engines.errors import TaktlineError
from pipeline.flow.channel import Channel, ChannelClosed
from pipeline.flow.clock import SYSTEM_CLOCK, Clock
from pipeline.flow.decided import Decided
from pipeline.flow.stage import Stage
from pipeline.journal.entries import new_epoch
from pipeline.journal.store import Journal
from pipeline.protocol.event import EVENT_TOPIC
from pipeline.protocol.preview import PREVIEW_TOPIC
from pipeline.protocol.sockets import HIGH_WATER_MARK
from pipeline.protocol.verdict import pack
from pipeline.publish.bound_socket import BoundSocket
from pipeline.publish.drift_watch import DriftWatch
from pipeline.publish.metrics import LineMetrics
from pipeline.publish.previews import PreviewMaker
from pipeline.security.curve import THIS_MACHINE, Access

log = logging.getLogger(__name__)

LINGER_MS = 2_000
_POLL_MS = 100
_MOST_BYTES = 4 << 10
_MOST_WAITING, _MOST_SUBSCRIPTIONS = 100, 10_000
_TOGETHER = 256
_PREVIEWS, _EVENTS = PREVIEW_TOPIC.encode(), EVENT_TOPIC.encode()
# How often the publisher looks for previews, or only for events, while there is no verdict.
_PREVIEW_S, _EVENT_S = 0.03, 0.5


class PublisherSocket(BoundSocket):
    """A bound socket for publishing verdicts.

    It is an XPUB: a PUB that also sees subscriptions, so that a line can wait for its subscribers. PUB/SUB alone loses
    what is published while a subscriber is away or too slow.

    Args:
        address: where to bind it.
        queue: the most verdicts that wait for one slow subscriber.
        access: who may subscribe.

    Raises:
        ConfigError: the address cannot be bound, or would be open to everyone.
    """

    def __init__(self, address: str, queue: int = HIGH_WATER_MARK, access: Access = THIS_MACHINE) -> None:
        # Only subscriptions come in: they are short, and few enough to be read between two verdicts.
        incoming = {zmq.MAXMSGSIZE: _MOST_BYTES, zmq.RCVHWM: _MOST_WAITING}
        options = {zmq.SNDHWM: queue, zmq.LINGER: LINGER_MS, zmq.XPUB_VERBOSER: 1, **incoming}
        self._subscriptions = self._for_previews = 0
        super().__init__(zmq.XPUB, options, address, access, "the publisher of verdicts")

    def await_subscribers(self, count: int, timeout: float, stop: threading.Event) -> None:
        """Waits until there are `count` subscribers or `stop` is set.

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
            self.gate.mind()
            if self.socket.poll(min(int(left * 1000) + 1, _POLL_MS)):
                self._note_subscriptions()

    def send(self, parts: list[bytes]) -> None:
        """Sends a message without waiting for any subscriber."""
        self.gate.mind()
        self.socket.send_multipart(parts)
        self._note_subscriptions()

    @property
    def wants_previews(self) -> bool:
        """Whether anybody subscribes to previews; may be read by any thread."""
        return self._for_previews > 0

    def mind(self) -> None:
        """Does between two messages what `send` does with each: admits clients and notes who subscribes."""
        self.gate.mind()
        self._note_subscriptions()

    def _note_subscriptions(self) -> None:
        for _ in range(10 * _MOST_WAITING):
            if not self.socket.poll(0):
                break
            message = self.socket.recv()
            change, topic = {b"\x01": 1, b"\x00": -1}.get(message[:1], 0), message[1:]
            if not topic.startswith((_PREVIEWS, _EVENTS)):
                self._subscriptions = max(0, self._subscriptions + change)
            if topic.startswith(_PREVIEWS) or _PREVIEWS.startswith(topic):
                self._for_previews = max(0, self._for_previews + change)
        if self._subscriptions + self._for_previews > _MOST_SUBSCRIPTIONS:
            log.warning("more than %d subscriptions; closing all connections", _MOST_SUBSCRIPTIONS)
            self._subscriptions = self._for_previews = 0
            self.gate.close_connections()


class Publisher(Stage):
    """Publishes verdicts, and passes them on to a watcher in this process.

    If the line has a journal, verdicts are entered there first; all waiting verdicts are entered together. Previews are
    made by another thread and sent here, between verdicts, because a socket belongs to one thread; so are the events of
    the drift watch. `offer` is called with every frame once its verdict is out, and must return at once.
    """

    def __init__(
        self,
        socket: PublisherSocket,
        inbox: Channel[Decided],
        outbox: Channel[Decided] | None,
        metrics: LineMetrics,
        journal: Journal | None = None,
        clock: Clock = SYSTEM_CLOCK,
        previews: PreviewMaker | None = None,
        watch: DriftWatch | None = None,
        offer: Callable[[Decided], None] | None = None,
    ) -> None:
        super().__init__("publisher", clock)
        self._previews, self._watch, self._offer = previews, watch, offer
        self._wait_s = _PREVIEW_S if previews is not None else None if watch is None else _EVENT_S
        self._socket, self._inbox, self._outbox, self._metrics = socket, inbox, outbox, metrics
        self._journal, self._epoch = journal, new_epoch()

    def work(self) -> None:
        """Publishes verdicts until there are no more."""
        while True:
            try:
                batch = self._inbox.get_many(_TOGETHER, self._wait_s)
            except TimeoutError:
                self._socket.mind()
                self._send_more()
                continue
            messages = self._pack(batch) if self._journal is None else self._journal.enter(batch)
            for decided, message in zip(batch, messages, strict=True):
                self._socket.send(message)
                self._metrics.published(decided.verdict)
            for decided in batch:
                if self._previews is not None:
                    self._previews.offer(decided)
                if self._watch is not None:
                    self._watch.judged(decided.verdict)
                if self._offer is not None:
                    self._offer(decided)
                self._hand_on(decided)
            self._send_more()

    def ended(self) -> None:
        """Drains the journal, the drift watch and the previews, and closes the watcher's queue."""
        if self._watch is not None:
            self._watch.drain()
        if self._previews is not None:
            self._previews.drain()
        if self._journal is not None:
            self._journal.drain()
        if self._outbox is not None:
            self._outbox.close()

    def _send_more(self) -> None:
        """Sends one event and one preview at most: the next verdict may be waiting."""
        for maker in (self._watch, self._previews):
            message = None if maker is None else maker.take()
            if message is not None:
                self._socket.send(message)

    def _pack(self, batch: list[Decided]) -> list[list[bytes]]:
        messages = []
        for decided in batch:
            latency = dataclasses.replace(decided.verdict.latency, publish=self._clock.monotonic_ns() - decided.decided)
            decided.verdict = dataclasses.replace(decided.verdict, latency=latency, epoch=self._epoch)
            messages.append(pack(decided.verdict, decided.heatmap))
        return messages

    def _hand_on(self, decided: Decided) -> None:
        if self._outbox is None:
            return
        try:
            self._outbox.put(decided)
        except ChannelClosed:
            # Nobody watches any more; verdicts are still published.
            self._outbox = None
