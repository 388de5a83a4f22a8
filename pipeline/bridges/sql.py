"""A bridge to a database: the verdicts of many lines, each once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import zmq

from engines.closing import Closing, closed_on_error
from engines.errors import ConfigError
from pipeline.bridges.bridge import Unreachable, insist
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.protocol.verdict import Verdict, VersionError, WireError
from pipeline.security.curve import ClientKeys
from pipeline.store.rows import Batch, Written
from pipeline.store.store import Store, StoreDown

log = logging.getLogger(__name__)

# What a transaction holds at most, and how long it waits for more. One line after the other takes its turn.
_TOGETHER, _GATHER_S, _TURN = 5_000, 0.1, 500
_FEW, _REST_S = 50, 0.02
# What waits in this process for each line; beyond that, its replay has it.
_QUEUE = 2_000


@dataclass(frozen=True)
class FollowedLine:
    """A line whose verdicts are stored.

    Attributes:
        name: its position is stored under this name, which should be the one that its verdicts have.
        verdicts: where it publishes.
        replay: where it answers re-reads; None if it does not.
        cameras: only these; all if empty.
        curve: keys, for a line that uses CURVE.
    """

    name: str
    verdicts: str
    replay: str | None = None
    cameras: tuple[str, ...] = ()
    curve: ClientKeys | None = None


@dataclass
class _Feed:
    line: FollowedLine
    subscriber: VerdictSubscriber
    gathered: list[Verdict] = field(default_factory=list)
    left_out: bool = False
    named_otherwise: bool = False


class StoreBridge(Closing):
    """Follows lines and stores their verdicts, with each line's position in the same transaction.

    So nothing is lost or stored twice, whoever dies, if the lines have a replay. A line of another wire version is left
    out; the others go on.

    Args:
        lines: what to follow.
        store: where to store it; the bridge does not close it.
        oldest: whether a line that the store does not know yet begins with the oldest verdict of its journal.
    """

    def __init__(self, lines: Sequence[FollowedLine], store: Store, *, oldest: bool = False) -> None:
        self._lines, self._store, self._oldest = tuple(lines), store, oldest
        self._feeds: list[_Feed] = []
        self._open = ExitStack()
        self.written = Written()

    def run(self, stop: threading.Event, started: Callable[[], None] = lambda: None) -> None:
        """Stores verdicts until `stop` is set.

        Args:
            stop: ends it.
            started: called when the store is open and all lines are followed.

        Raises:
            ConfigError: the store cannot be used, or none of the lines can be followed.
        """
        positions: dict[str, Any] = {}
        if not self._insist(lambda: positions.update(self._store.positions()), stop):
            return
        self._subscribe(positions)
        poller = zmq.Poller()
        ready = {}
        for feed in self._feeds:
            one = feed.subscriber.register(zmq.Poller())
            for socket, _ in one.sockets:
                poller.register(socket, zmq.POLLIN)
                ready[socket] = feed
        started()
        while not stop.is_set():
            if self._insist(self._store.tend, stop):
                self._gather(poller, ready, stop)
                self._write(stop)

    def close(self) -> None:
        """Closes the subscribers."""
        self._open.close()

    def _subscribe(self, positions: dict[str, Any]) -> None:
        with closed_on_error(self):
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            self._open.callback(context.term)
            for line in self._lines:
                since = positions.get(line.name, {} if self._oldest else None)
                self._feeds.append(_Feed(line, self._open.enter_context(VerdictSubscriber(
                    line.verdicts, line.cameras, replay=line.replay, since=since, queue=_QUEUE, curve=line.curve,
                    context=context,
                ))))  # fmt: skip

    def _gather(self, poller: zmq.Poller, ready: dict[Any, _Feed], stop: threading.Event) -> None:
        """Takes what arrives within a moment, or until there is enough."""
        # All of them once: each asks its line's replay only while it receives.
        count = sum(self._take(feed) for feed in self._feeds)
        until = time.monotonic() + _GATHER_S
        while count < _TOGETHER and not stop.is_set() and (left := until - time.monotonic()) > 0:
            feeds = {ready[socket].line.name: ready[socket] for socket, _ in poller.poll(round(left * 1000) + 1)}
            came = sum(self._take(feed) for feed in feeds.values())
            count += came
            if 0 < came < _FEW:
                # Looking through the sockets of a hundred lines for each single verdict would cost more than the rest.
                stop.wait(_REST_S)

    def _take(self, feed: _Feed) -> int:
        """Takes what has arrived from a line, and returns how much."""
        before = len(feed.gathered)
        for _ in range(_TURN):
            try:
                verdict = feed.subscriber.receive(0)[0]
            except TimeoutError:
                break
            except VersionError as error:
                self._leave_out(feed, str(error))
            except WireError as error:
                log.warning("skipped a message of the line %s: %s", feed.line.name, error)
            else:
                if not feed.left_out:
                    self._check_name(feed, verdict.line)
                    feed.gathered.append(verdict)
        return len(feed.gathered) - before

    def _check_name(self, feed: _Feed, name: str) -> None:
        # Its rows are right anyhow. It may have had another name once, and its journal still tells that.
        if name != feed.line.name and not feed.named_otherwise:
            feed.named_otherwise = True
            log.warning(
                "the line at %s calls itself '%s' and not '%s'; its verdicts are stored under that name, its position "
                "is not; give that name if another line has this one", feed.line.verdicts, name, feed.line.name
            )  # fmt: skip

    def _leave_out(self, feed: _Feed, why: str) -> None:
        if feed.left_out:
            return
        feed.left_out = True
        log.error("the line %s is not stored from now on: %s", feed.line.name, why)
        if all(one.left_out for one in self._feeds):
            raise ConfigError(f"there is no line left to follow: {why}")

    def _write(self, stop: threading.Event) -> None:
        # Of a line that is left out, what came before that is stored; its position stays there.
        feeds = [feed for feed in self._feeds if feed.gathered]
        batches = [Batch(feed.line.name, feed.gathered, feed.subscriber.position) for feed in feeds]
        if not batches:
            return
        written: list[Written] = []
        if self._insist(lambda: written.append(self._store.write(batches)), stop):
            self.written += written[0]
            for feed in feeds:
                feed.gathered = []

    def _insist(self, attempt: Callable[[], object], stop: threading.Event) -> bool:
        def once() -> None:
            try:
                attempt()
            except StoreDown as error:
                raise Unreachable(str(error)) from error

        return insist(once, stop)
