"""Keeps a line's model up to date: threads subscribe to its verdicts and previews and ask for its status."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engines.closing import Closing
from engines.errors import DataError, TaktlineError
from pipeline.client.orders import tell_line
from pipeline.client.position import Mark, Position
from pipeline.client.previews import PreviewSubscriber
from pipeline.client.subscriber import VerdictSubscriber
from pipeline.config.lines_file import KnownLine
from pipeline.dashboard.camera_model import REMEMBERED
from pipeline.dashboard.line_model import LineModel
from pipeline.dashboard.places import find_places
from pipeline.dashboard.store_history import HistoryPlace, StorePlace
from pipeline.journal.reader import JournalReader
from pipeline.journal.selection import Selection
from pipeline.protocol.orders import Order
from pipeline.protocol.verdict import WireError

log = logging.getLogger(__name__)

_ASK_S, _TICK_S, _AGAIN_S, _AFTER_FAILURE_S = 1.0, 0.25, 1.0, 5.0
_PATIENCE_MS = 3_000
# What waits in this process; beyond that, the replay has it.
_QUEUE = 5_000


class LineFeed(Closing):
    """Watches a line from threads of its own, through every restart of it. It never asks it to wait.

    Args:
        line: what to watch.

    Attributes:
        model: what is known of the line.
        curve: the dashboard's keys for the line, or None.
        places: where the line is, as far as that is known.

    Raises:
        ConfigError: its keys cannot be used.
    """

    def __init__(self, line: KnownLine) -> None:
        self.line = line
        self.curve = line.read_keys()
        self.model = LineModel(line.name, line.control_address is not None)
        self._stop = threading.Event()
        self._position: Position | None = None
        self._looked_at = threading.Event()
        self.places = find_places(line, None)
        work = [self._subscribe, self._look, *([] if line.control_address is None else [self._ask])]
        self._threads = [
            threading.Thread(target=self._keep, args=(one,), name=f"{one.__name__} {line.name}", daemon=True)
            for one in work
        ]

    @property
    def name(self) -> str:
        """The line's name."""
        return self.line.name

    @property
    def journal(self) -> Path | None:
        """The line's journal, if this machine can read it."""
        return self.places.journal

    @property
    def history(self) -> HistoryPlace | None:
        """Where the line's history is: in the store that the settings name, or else in its journal."""
        if self.line.store is not None:
            return StorePlace(self.line.store, self.name)
        return self.journal

    def look(self, wanted: bool) -> None:
        """Says whether anybody looks: a line makes previews only for those who do."""
        if wanted:
            self._looked_at.set()
        else:
            self._looked_at.clear()

    def start(self) -> None:
        """Starts to watch."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ends the threads."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_PATIENCE_MS / 1000 + 1)

    def _keep(self, work: Callable[[], None]) -> None:
        """Begins work again after an error that nobody foresaw: a wall screen must not stand still for good."""
        while not self._stop.is_set():
            try:
                work()
            except Exception:
                log.exception("the feed of the line %s failed and begins again", self.name)
                self._stop.wait(_AFTER_FAILURE_S)

    def _ask(self) -> None:
        """Asks the line for its status, once a second."""
        address = self.line.control_address
        assert address is not None
        while True:
            try:
                answer = tell_line(address, Order(do="status"), _PATIENCE_MS, self.curve)
                self.model.told(answer["status"])
                # Asked of the disk here, because a disk that hangs must not stop the pages.
                self.places = find_places(self.line, answer["status"])
            except TaktlineError:
                self.model.unreachable(f"the line {self.name} does not answer; it is tried again every second")
            except (KeyError, TypeError) as error:
                self.model.unreachable(f"the line {self.name} is of another version: its status lacks {error}")
            if self._stop.wait(_ASK_S):
                return

    def _subscribe(self) -> None:
        """Receives verdicts from wherever the line is now."""
        while not self._stop.is_set():
            places = self.places
            if places.verdicts is None:
                self._stop.wait(_TICK_S)
                continue
            try:
                if self._position is None and places.journal is not None:
                    self._remember(places.journal)
                self._receive(places.verdicts, places.replay)
            except WireError as error:
                self.model.unreadable(str(error))
                self._stop.wait(_AGAIN_S)
            except TaktlineError as error:
                self.model.unreachable(str(error))
                self._stop.wait(_AGAIN_S)

    def _receive(self, verdicts: str, replay: str | None) -> None:
        """Receives until the line is found elsewhere."""
        with VerdictSubscriber(
            verdicts, replay=replay, since=self._position, queue=_QUEUE, curve=self.curve,
            on_gap=lambda gap: self.model.lost(gap.count),
        ) as subscriber:  # fmt: skip
            try:
                while not self._stop.is_set():
                    try:
                        self.model.received(*subscriber.receive(_TICK_S))
                    except TimeoutError:
                        moved = self.places
                        if (moved.verdicts, moved.replay) != (verdicts, replay):
                            return
            finally:
                if replay is not None:
                    self._position = subscriber.position

    def _look(self) -> None:
        """Receives previews while anybody looks."""
        while not self._stop.is_set():
            places = self.places
            if places.verdicts is None or not self._looked_at.wait(_TICK_S):
                self._stop.wait(_TICK_S)
                continue
            try:
                with PreviewSubscriber(places.verdicts, curve=self.curve) as subscriber:
                    while self._looked_at.is_set() and not self._stop.is_set() and self.places == places:
                        with suppress(TimeoutError):
                            self.model.saw(subscriber.receive(_TICK_S))
            except TaktlineError as error:
                log.warning("previews of the line %s cannot be read: %s", self.name, error)
                self._stop.wait(_AGAIN_S)

    def _remember(self, journal: Path) -> None:
        """Fills the model with the last parts in the journal, and resumes after them."""
        position: Position = {}
        try:
            with JournalReader(journal) as reader:
                cameras = {series.camera for series in reader.series()}
                for camera in sorted(cameras):
                    for found in reader.find(Selection(cameras=(camera,)), REMEMBERED):
                        self.model.received(found.verdict, found.heatmap, live=False)
                        position[camera] = Mark(epoch=found.verdict.epoch, sequence=found.verdict.sequence)
        except DataError as error:
            log.warning("the page begins without the journal's last parts: %s", error)
            return
        self._position = position or None
