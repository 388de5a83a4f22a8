"""Labels: an operator's word on a verdict. The newest counts, and the earlier ones are kept."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from engines.closing import Closing
from engines.errors import ConfigError, DataError
from pipeline.journal.file import open_reader, transaction
from pipeline.journal.people import PeopleFile, checked_name, people_path
from pipeline.protocol.label import LABELS, MOST_NOTE_BYTES, Label, Said
from pipeline.protocol.topics import safe_text

# Someone who labels one part all day must not fill the disk.
_MOST_OF_A_PART = 100
_STEP = 200
_EARLIER = "SELECT label, by, at, note FROM labels WHERE camera = ? AND epoch = ? AND sequence = ? ORDER BY id DESC"


class VerdictKey(NamedTuple):
    """Identifies a verdict; a line's journal has each once.

    Attributes:
        camera: see `Verdict.camera`.
        epoch: see `Verdict.epoch`.
        sequence: see `Verdict.sequence`.
    """

    camera: str
    epoch: str
    sequence: int


class Change(NamedTuple):
    """One step of a verdict's label.

    Attributes:
        label: what was said; None where a label was withdrawn.
        by: who said it.
        at: when, nanoseconds since 1970 (UTC).
        note: why; may be empty.
    """

    label: Said | None
    by: str
    at: int
    note: str


def check_label(text: str) -> Said:
    """Returns a label from text in any case, also with hyphens or underscores for the space.

    Raises:
        ConfigError: there is no such label.
    """
    plain = text.strip().lower().replace("-", " ").replace("_", " ")
    for label in LABELS:
        if label == plain:
            return label
    raise ConfigError(f"there is no label '{text}'; give one of: {', '.join(LABELS)}")


class LabelBook(Closing):
    """Writes labels beside a journal, whether or not its line is running. May be used by one thread at a time.

    Args:
        journal: the line's journal.
        wall_ns: tells the time, nanoseconds since 1970 (UTC).

    Raises:
        DataError: there is no journal, or the file of labels is not Taktline's.
        TaktlineError: it cannot be written.
    """

    def __init__(self, journal: Path, wall_ns: Callable[[], int] = time.time_ns) -> None:
        if not journal.is_file():
            raise DataError(f"there is no journal {journal}; give the path from [journal] in the line file")
        self._journal, self._wall_ns = journal, wall_ns
        self._file = PeopleFile(journal)

    def set(self, key: VerdictKey, label: Said | None, by: str, note: str = "") -> Label | None:
        """Labels a verdict, or withdraws its label.

        Args:
            key: the verdict, which must be in the journal.
            label: what to say; None to withdraw what was said.
            by: who says it, 1 to 64 characters.
            note: why, at most 1000 bytes of UTF-8.

        Returns:
            The label as it was stored; None if it was withdrawn.

        Raises:
            ConfigError: the name or the note is too long, or there is no such label.
            DataError: the verdict is not in the journal.
            TaktlineError: the label cannot be written.
        """
        name, words = checked_name(by), safe_text(note).strip()
        if len(words.encode()) > MOST_NOTE_BYTES:
            raise ConfigError(f"a note has at most {MOST_NOTE_BYTES} bytes; shorten it")
        if label is not None:
            check_label(label)
        captured_at, now = self._captured_at(key), self._wall_ns()
        connection = self._file.connection
        try:
            with transaction(connection):
                connection.execute(
                    "UPDATE labels SET current = 0 WHERE camera = ? AND epoch = ? AND sequence = ? AND current", key
                )
                connection.execute(
                    "INSERT INTO labels (camera, epoch, sequence, captured_at, label, by, at, note, current) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
                    (*key, captured_at, label, name, now, words),
                )
                connection.execute(
                    "DELETE FROM labels WHERE id IN (SELECT id FROM labels WHERE camera = ? AND epoch = ? AND "
                    "sequence = ? ORDER BY id DESC LIMIT -1 OFFSET ?)",
                    (*key, _MOST_OF_A_PART),
                )
        except sqlite3.Error as error:
            raise self._file.failure(error) from error
        return None if label is None else Label(label, name, now, words)

    def history(self, key: VerdictKey) -> list[Change]:
        """Returns what was said about a verdict, newest first; at most the last hundred.

        Raises:
            TaktlineError: it cannot be read.
        """
        try:
            return [Change(*row) for row in self._file.connection.execute(_EARLIER, key)]
        except sqlite3.Error as error:
            raise self._file.failure(error) from error

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _captured_at(self, key: VerdictKey) -> int:
        try:
            # A new connection, because the line may have put a damaged journal aside and begun another.
            reader = open_reader(self._journal)
            try:
                found = reader.execute(
                    "SELECT captured_at FROM verdicts WHERE camera = ? AND epoch = (SELECT number FROM epochs WHERE "
                    "id = ?) AND sequence = ?",
                    key,
                ).fetchone()
            finally:
                reader.close()
        except sqlite3.Error as error:
            raise DataError(f"the journal {self._journal} cannot be read ({error}); try again") from error
        if found is None:
            raise DataError(f"camera {key.camera}, sequence {key.sequence} is not in the journal {self._journal}")
        return int(found[0])


def forget_labels(
    journal: Path, epochs: Sequence[str], missing: Callable[[Sequence[VerdictKey]], list[VerdictKey]]
) -> int:
    """Removes the labels of verdicts that are no longer in a journal, oldest first, and returns how many.

    Args:
        journal: the journal.
        epochs: its epochs. Labels of others belong to a journal that was put aside, and stay.
        missing: returns which verdicts are not in the journal.

    Raises:
        TaktlineError: the labels cannot be read or written now.
    """
    if not people_path(journal).exists():
        return 0
    count = 0
    with PeopleFile(journal, busy_s=0.5) as file:
        connection = file.connection
        places = ", ".join("?" * len(epochs))
        try:
            while True:
                oldest = connection.execute(
                    f"SELECT camera, epoch, sequence FROM labels WHERE current AND epoch IN ({places}) "
                    "ORDER BY captured_at LIMIT ?",
                    (*epochs, _STEP),
                ).fetchall()
                gone = missing([VerdictKey(*row) for row in oldest])
                with transaction(connection):
                    connection.executemany("DELETE FROM labels WHERE camera = ? AND epoch = ? AND sequence = ?", gone)
                count += len(gone)
                # Verdicts leave the journal oldest first: where all are still there, the newer ones are too.
                if not gone:
                    return count
        except sqlite3.Error as error:
            raise file.failure(error) from error
