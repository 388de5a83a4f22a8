"""Checks a journal: its structure, sequences, messages and pictures."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.closing import Closing
from pipeline.journal.file import SCHEMA_VERSION, open_reader, schema_version
from pipeline.journal.pictures import picture_folder
from pipeline.journal.reader import JournalReader
from pipeline.protocol.entry import Entry
from pipeline.protocol.verdict import WireError, unpack

_MOST_FAULTS = 100


@dataclass
class Verification:
    """What checking a journal found.

    Attributes:
        verdicts: number of verdicts it holds.
        pictures: number of pictures it refers to.
        waited: number of verdicts that were published before they were journaled.
        epochs: number of its epochs.
        faults: a sentence for each error; the first hundred.
    """

    verdicts: int = 0
    pictures: int = 0
    waited: int = 0
    epochs: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def add(self, fault: str) -> None:
        """Adds a fault, unless there are already a hundred."""
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(fault)

    def to_json(self) -> dict[str, Any]:
        """Returns all fields as plain values."""
        return {
            "good": self.good,
            "verdicts": self.verdicts,
            "pictures": self.pictures,
            "waited": self.waited,
            "epochs": self.epochs,
            "faults": self.faults,
        }


class JournalCheck(Closing):
    """Checks a journal as it is at one moment, while a line may be writing to it.

    Raises:
        DataError: there is no journal, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        JournalReader(path).close()
        self._connection = open_reader(path)

    def run(self) -> Verification:
        """Checks SQLite's structure, every camera's sequences, every message, and every picture's file."""
        found = Verification()
        try:
            self._connection.execute("BEGIN")
            found.faults += self._structure()
            found.epochs = int(self._connection.execute("SELECT count(*) FROM epochs").fetchone()[0])
            for fault in itertools.chain(self._sequences(), self._facts()):
                found.add(fault)
            self._messages(found)
        except sqlite3.Error as error:
            found.add(f"SQLite cannot read all of it ({error})")
        return found

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _structure(self) -> list[str]:
        rows = [row[0] for row in self._connection.execute("PRAGMA integrity_check(10)")]
        return [] if rows == ["ok"] else [f"SQLite finds: {row}" for row in rows]

    def _sequences(self) -> Iterator[str]:
        gaps = self._connection.execute(
            "SELECT camera, (SELECT id FROM epochs WHERE number = epoch), before, sequence FROM (SELECT camera, epoch, "
            "sequence, lag(sequence) OVER (PARTITION BY camera, epoch ORDER BY sequence) AS before FROM verdicts) "
            "WHERE before IS NOT NULL AND sequence <> before + 1"
        )
        for camera, epoch, before, after in gaps:
            yield f"camera {camera}, epoch {epoch}: the sequences from {before + 1} to {after - 1} are missing"
        heads = self._connection.execute(
            "SELECT camera, sequence, (SELECT max(sequence) FROM verdicts WHERE verdicts.camera = heads.camera AND "
            "verdicts.epoch = heads.epoch) AS newest FROM heads WHERE newest IS NOT NULL AND newest <> heads.sequence"
        )
        for camera, head, newest in heads:
            yield f"camera {camera}: its newest sequence is {newest} and should be {head}"

    def _facts(self) -> Iterator[str]:
        """Yields a fault if history does not show what the journal holds."""
        if schema_version(self._connection) != SCHEMA_VERSION:
            return
        same = "camera = {0}.camera AND epoch = {0}.epoch AND sequence = {0}.sequence"
        lost, extra = (
            self._connection.execute(query).fetchone()[0]
            for query in (
                "SELECT count(*) FROM verdicts v WHERE id > ifnull((SELECT up_to FROM unindexed), 0) AND NOT EXISTS "
                f"(SELECT 1 FROM facts WHERE captured_at = v.captured_at AND {same.format('v')})",
                f"SELECT count(*) FROM facts f WHERE NOT EXISTS (SELECT 1 FROM verdicts WHERE {same.format('f')})",
            )
        )
        if lost or extra:
            yield f"history lacks {lost} verdicts and shows {extra} that are not there"

    def _messages(self, found: Verification) -> None:
        root = picture_folder(self._path)
        rows = self._connection.execute(
            "SELECT verdicts.id, picture, epochs.id, camera, sequence, captured_at, verdict, body, heatmap "
            "FROM verdicts LEFT JOIN epochs ON epochs.number = verdicts.epoch"
        )
        missing: list[tuple[int, str]] = []
        for number, picture, *row in rows:
            entry = Entry(*row)
            found.verdicts += 1
            fault = self._message_fault(entry, found)
            if fault is not None:
                found.add(f"camera {entry.camera}, sequence {entry.sequence}: {fault}")
            if picture is not None:
                found.pictures += 1
                if not (root / picture).is_file():
                    missing.append((number, picture))
        self._connection.execute("COMMIT")
        for number, picture in missing:
            # The line may have removed it since, because it was too old.
            still = self._connection.execute("SELECT 1 FROM verdicts WHERE id = ? AND picture = ?", (number, picture))
            if still.fetchone() is not None:
                found.add(f"the picture {picture} is missing")

    @staticmethod
    def _message_fault(entry: Entry, found: Verification) -> str | None:
        try:
            verdict, heatmap = unpack(entry.parts)
        except WireError as error:
            return str(error)
        found.waited += int(not verdict.journaled)
        said = (verdict.epoch, verdict.camera, verdict.sequence, verdict.captured_at, verdict.verdict)
        held = (entry.epoch, entry.camera, entry.sequence, entry.captured_at, entry.verdict)
        if said != held:
            return f"the message says {said} and the journal {held}"
        if (heatmap is None) != (entry.heatmap is None):
            return "its heatmap is missing"
        return None
