"""The last part of a line: journal, publisher and replay, opened and closed together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engines.closing import Closing
from pipeline.config.sections import JournalSection, PublishSection
from pipeline.flow.channel import Channel
from pipeline.flow.decided import Decided
from pipeline.flow.stage import Stage
from pipeline.journal.store import Journal
from pipeline.publish.metrics import LineMetrics
from pipeline.publish.publisher import Publisher, PublisherSocket
from pipeline.publish.replay_server import ReplayServer, ReplaySocket
from pipeline.security.curve import Access

_JOIN_S = 30.0


class Delivery(Closing):
    """What brings a line's verdicts out. Opening it binds its sockets, so that subscribers find their way in.

    Raises:
        ConfigError: an address cannot be bound, or the journal cannot be used.
    """

    def __init__(self, publish: PublishSection, journal: JournalSection | None) -> None:
        access = Access(publish.curve_secret, publish.allowed_clients, publish.insecure)
        self.socket = PublisherSocket(publish.verdicts, publish.queue, access)
        self.journal: Journal | None = None
        self.replay: ReplaySocket | None = None
        self._server: ReplayServer | None = None
        try:
            if journal is not None:
                self.journal = Journal(journal)
            if publish.replay is not None:
                self.replay = ReplaySocket(publish.replay, access)
        except BaseException:
            self.close()
            raise

    def first(self, camera: str) -> int:
        """Returns the sequence of the next frame of a camera."""
        return 0 if self.journal is None else self.journal.first(camera)

    def stages(self, inbox: Channel[Decided], outbox: Channel[Decided] | None, metrics: LineMetrics) -> list[Stage]:
        """Returns the stages that end when no more verdicts come."""
        journal = [] if self.journal is None else self.journal.stages()
        return [Publisher(self.socket, inbox, outbox, metrics, self.journal), *journal]

    def start(self, on_failure: Callable[[str, Exception], None]) -> None:
        """Starts to answer subscribers, until it is closed."""
        if self.replay is not None and self.journal is not None:
            self._server = ReplayServer(self.replay, self.journal)
            self._server.start(on_failure)

    def status(self) -> dict[str, Any] | None:
        """Returns how the journal is, or None where there is none."""
        return None if self.journal is None else self.journal.status()

    def close(self) -> None:
        """Closes the sockets and the journal."""
        if self._server is not None:
            self._server.end()
            self._server.join(_JOIN_S)
        if self.replay is not None:
            self.replay.close()
        if self.journal is not None:
            self.journal.close()
        self.socket.close()
