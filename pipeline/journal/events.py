"""The events of a line in its journal: what its drift watch told, newest first.

The table is added to a journal when its first event comes. A journal without one has had no events.
"""

from __future__ import annotations

import sqlite3

from pipeline.journal.file import transaction
from pipeline.journal.read_only import ReadOnlyJournal
from pipeline.protocol.event import Event, pack_event, unpack_event
from pipeline.protocol.verdict import WireError

_MOST_EVENTS = 10_000
_TABLE = "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, body BLOB NOT NULL)"


def write_event(connection: sqlite3.Connection, event: Event) -> None:
    """Enters an event; the newest ten thousand are kept.

    Raises:
        sqlite3.Error: the journal cannot be written now.
    """
    with transaction(connection):
        connection.execute(_TABLE)
        row = connection.execute("INSERT INTO events (at, body) VALUES (?, ?)", (event.at, pack_event(event)[1]))
        connection.execute("DELETE FROM events WHERE id <= ?", ((row.lastrowid or 0) - _MOST_EVENTS,))


class EventReader(ReadOnlyJournal):
    """Reads the events of a journal, while a line may be writing to it. May be used by one thread at a time."""

    def newest(self, most: int = 100) -> list[Event]:
        """Returns events, newest first; those of another version of Taktline are left out.

        Raises:
            DataError: the journal cannot be read.
        """
        with self._reading():
            known = self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone()
            if known is None:
                return []
            rows = self._connection.execute("SELECT body FROM events ORDER BY id DESC LIMIT ?", (most,)).fetchall()
        events = []
        for (body,) in rows:
            try:
                events.append(unpack_event([b"", body]))
            except WireError:
                self.skipped += 1
        return events
