"""Answers subscribers that missed verdicts, from the journal. No verdict waits for it."""

from __future__ import annotations

import sqlite3
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace

import zmq

from engines.closing import Closing
from engines.errors import DataError
from pipeline.flow.closing import CLOSE_S
from pipeline.flow.stage import Stage
from pipeline.journal.reader import JournalReader
from pipeline.journal.store import Journal
from pipeline.protocol.entry import Entry
from pipeline.protocol.gap import Gap
from pipeline.protocol.replay import (
    MOST_REQUEST_BYTES,
    PAGE,
    ReplayRequest,
    Series,
    pack_page,
    pack_refusal,
    pack_series,
    request_id,
    unpack_request,
)
from pipeline.protocol.verdict import WireError
from pipeline.publish.bound_socket import BoundSocket
from pipeline.security.curve import THIS_MACHINE, Access

_POLL_MS = 100
_HIGH_WATER_MARK = 64
_MOST_PARTS = 4
_PAGE_BYTES = 1 << 20
_CLIENT_RATE, _RATE, _BURST_S = 50.0, 200.0, 0.5
_MOST_CLIENTS = 1024
_RETRY_S = 0.1


class ReplaySocket(BoundSocket):
    """A bound ROUTER socket. A request is one frame; a REQ socket sends an empty one before it.

    Args:
        address: where to bind it.
        access: who may ask.

    Raises:
        ConfigError: the address cannot be bound, or would be open to everyone.
    """

    def __init__(self, address: str, access: Access = THIS_MACHINE) -> None:
        queues = {zmq.SNDHWM: _HIGH_WATER_MARK, zmq.RCVHWM: _HIGH_WATER_MARK}
        options = {zmq.LINGER: 0, zmq.MAXMSGSIZE: MOST_REQUEST_BYTES, **queues}
        super().__init__(zmq.ROUTER, options, address, access, "the replay")

    def receive(self) -> list[bytes] | None:
        """Waits a moment for a message and returns its parts, or the first few if it has too many."""
        self.gate.mind()
        if not self.socket.poll(_POLL_MS):
            return None
        parts = [self.socket.recv()]
        while self.socket.getsockopt(zmq.RCVMORE):
            part = self.socket.recv()
            if len(parts) < _MOST_PARTS:
                parts.append(part)
        return parts

    def send(self, parts: list[bytes]) -> None:
        """Sends an answer, or drops it if the client does not take it."""
        with suppress(zmq.Again):
            self.socket.send_multipart(parts, zmq.NOBLOCK)


class ReplayServer(Stage, Closing):
    """Answers requests one by one, 50 per second for each client. A page has at most 200 verdicts, or about 1 MiB.

    It reads the journal through its own connection, and takes verdicts that wait for the disk from memory. A verdict
    that is damaged or has another wire version becomes a gap in the page.
    """

    restarts = 3

    def __init__(self, socket: ReplaySocket, journal: Journal) -> None:
        super().__init__("replay")
        self._socket, self._journal = socket, journal
        self._reader: tuple[int, JournalReader] | None = None
        self._all = _Allowance(_RATE)
        self._each: OrderedDict[bytes, _Allowance] = OrderedDict()
        self._over = False

    @property
    def address(self) -> str:
        """The bound address, with the actual port if 0 was given."""
        return self._socket.address

    def work(self) -> None:
        """Answers until it is drained."""
        try:
            while not self._over:
                parts = self._socket.receive()
                if parts is not None:
                    # A REQ socket sends an empty frame before its request and wants it back.
                    envelope = 2 if len(parts) == 3 and not parts[1] else 1
                    self._socket.send([*parts[:envelope], *self._answer(parts[0], parts[envelope:])])
        finally:
            self._forget_reader()

    def drain(self) -> None:
        """Lets the server end after the current request."""
        self._over = True

    def close(self, deadline: float | None = None) -> None:
        """Ends the server and closes its socket.

        Raises:
            TimeoutError: the journal's disk hangs; the thread is left behind.
        """
        self.drain()
        if not self.join(CLOSE_S if deadline is None else deadline):
            raise TimeoutError("an answer is still being read from the journal")
        self._socket.close()

    def _answer(self, client: bytes, message: list[bytes]) -> list[bytes]:
        number = request_id(message[0]) if message else 0
        if not self._may_ask(client):
            return pack_refusal(number, "too many requests at once", _RETRY_S)
        if len(message) != 1:
            return pack_refusal(number, "a request is one frame")
        try:
            request = unpack_request(message[0])
        except WireError as error:
            return pack_refusal(number, str(error))
        try:
            if request.do == "series":
                return pack_series(request, self._series(request))
            return self._page(request)
        except (sqlite3.Error, DataError, OSError) as error:
            self._forget_reader()
            return pack_refusal(request.id, f"the journal cannot be read now ({error})", 10 * _RETRY_S)

    def _series(self, request: ReplayRequest) -> list[Series]:
        # Memory first: what waits there may be in the file a moment later, but never the other way round.
        cameras = self._journal.waiting_cameras()
        waiting = {
            camera: self._journal.waiting(camera)
            for camera in sorted(cameras if not request.cameras else cameras & set(request.cameras))
        }
        reader = self._open_reader(bool(waiting))
        found = [] if reader is None else reader.series(request.cameras)
        for entries in waiting.values():
            for entry in entries:
                _extend(found, entry)
        return found

    def _page(self, request: ReplayRequest) -> list[bytes]:
        first, last = request.first, request.last
        waiting = [
            entry
            for entry in self._journal.waiting(request.camera)
            if entry.epoch == request.epoch and first <= entry.sequence <= last
        ]
        reader = self._open_reader(bool(waiting))
        stored = [] if reader is None else reader.read(request.camera, request.epoch, first, last, PAGE)
        newest = _last(stored[-1]) if stored else -1
        entries = stored + [entry for entry in waiting if entry.sequence > newest][: PAGE - len(stored)]
        size, count = 0, 0
        for entry in entries:
            size += 0 if isinstance(entry, Gap) else entry.size
            if count and size > _PAGE_BYTES:
                break
            count += 1
        more = count < len(entries) or len(entries) == PAGE
        # What waits in memory has no label: only a verdict in the file gets one.
        labels = {} if not stored or reader is None else reader.labels(request.camera, request.epoch, first, newest)
        return pack_page(request, entries[:count], more, labels)

    def _open_reader(self, may_lack: bool) -> JournalReader | None:
        """Opens the journal; returns None if it cannot be read but memory may hold the answer."""
        generation = self._journal.generation
        if self._reader is not None and self._reader[0] != generation:
            self._forget_reader()
        if self._reader is None:
            try:
                self._reader = generation, JournalReader(self._journal.path)
            except (DataError, sqlite3.Error):
                if may_lack:
                    return None
                raise
        return self._reader[1]

    def _forget_reader(self) -> None:
        if self._reader is not None:
            with suppress(sqlite3.Error):
                self._reader[1].close()
        self._reader = None

    def _may_ask(self, client: bytes) -> bool:
        allowance = self._each.setdefault(client, _Allowance(_CLIENT_RATE))
        self._each.move_to_end(client)
        if len(self._each) > _MOST_CLIENTS:
            self._each.popitem(last=False)
        now = time.monotonic()
        return allowance.take(now) and self._all.take(now)


class _Allowance:
    """A limit on the rate of requests, which allows bursts of half a second's worth."""

    def __init__(self, rate: float) -> None:
        self._rate, self._left, self._at = rate, _BURST_S * rate, 0.0

    def take(self, now: float) -> bool:
        self._left = min(_BURST_S * self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _last(item: Entry | Gap) -> int:
    return item.last if isinstance(item, Gap) else item.sequence


def _extend(series: list[Series], entry: Entry) -> None:
    for index, one in enumerate(series):
        if (one.camera, one.epoch) == (entry.camera, entry.epoch):
            series[index] = replace(one, first=min(one.first, entry.sequence), last=max(one.last, entry.sequence))
            return
    series.append(Series(entry.camera, entry.epoch, entry.sequence, entry.sequence))
