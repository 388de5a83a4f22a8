"""Makes the verdicts of an earlier Taktline searchable while the line runs."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.flow.stage import Stage
from pipeline.journal.facts import index_some
from pipeline.journal.file import open_writer, transaction
from pipeline.journal.pictures import Writing
from pipeline.journal.place import WriterLock, prepare_place

log = logging.getLogger(__name__)

_PAUSES_PER_STEP, _RETRY_S = 4.0, 5.0
_MOST_FAILURES = 5


class Indexing(Stage):
    """Enters the facts of older verdicts, newest first, a hundred at a time, and ends once all are there.

    A step takes a millisecond or two, and the stage rests four times as long: a verdict waits for one step at most.

    Args:
        writing: lends the journal's connection.
    """

    def __init__(self, writing: Writing) -> None:
        super().__init__("indexing")
        self._writing = writing
        self._over = threading.Event()

    def work(self) -> None:
        """Works until all verdicts can be searched, or it is drained."""
        failures = count = 0
        while not self._over.is_set():
            started = time.monotonic()
            try:
                with self._writing() as connection, transaction(connection):
                    done = index_some(connection)
            except (sqlite3.Error, OSError) as error:
                failures += 1
                if failures == _MOST_FAILURES:
                    log.error("older verdicts cannot be made searchable (%s); the next start tries again", error)
                    return
                self._over.wait(_RETRY_S)
                continue
            count += done
            if not done:
                if count:
                    log.info("%d older verdicts can be searched now", count)
                return
            self._over.wait(_PAUSES_PER_STEP * (time.monotonic() - started))

    def drain(self) -> None:
        """Lets the stage end."""
        self._over.set()


def index_journal(path: Path, progress: Callable[[int], None]) -> int:
    """Makes all verdicts of a journal searchable that no line is writing, and returns how many were not.

    Args:
        path: the journal.
        progress: called with how many are done.

    Raises:
        ConfigError: a line is writing it (and makes it searchable itself), or it is not a journal.
        sqlite3.Error: it cannot be written, or is damaged.
    """
    prepare_place(path)
    count = 0
    with WriterLock(path):
        connection = open_writer(path, "process")
        try:
            while True:
                with transaction(connection):
                    done = index_some(connection)
                count += done
                progress(count)
                if not done:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                    return count
        finally:
            connection.close()
