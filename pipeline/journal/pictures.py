"""Keeps pictures of frames beside the journal, so that people can see what a verdict was about."""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from engines.image import Image
from pipeline.config.sections import JournalSection
from pipeline.flow.decided import Decided
from pipeline.flow.stage import Stage
from pipeline.journal.file import open_reader
from pipeline.protocol.verdict import Verdict

log = logging.getLogger(__name__)

_WAITING = 16
_JPEG_QUALITY = 95
_RESERVED_SHARE, _MOST_RESERVED_BYTES = 0.05, 1 << 30
_COMPLAIN_S = 60.0
_TEMPORARY = ".new"
_SLICE = 20_000

Writing = Callable[[], AbstractContextManager[sqlite3.Connection]]


def picture_folder(journal: Path) -> Path:
    """Returns the folder of a journal's pictures."""
    return journal.with_name(f"{journal.name}.pictures")


def picture_path(epoch: str, camera: str, sequence: int) -> Path:
    """Returns a picture's path within that folder; no folder holds more than a thousand frames."""
    return Path(f"camera-{camera}", epoch, f"{sequence // 1000:06d}", f"{sequence:09d}.jpg")


def heatmap_path(picture: Path) -> Path:
    """Returns the path of a picture's heatmap."""
    return picture.with_suffix(".heatmap.png")


def is_drawn(verdict: Verdict, share: float) -> bool:
    """Tells whether a frame belongs to a random share of all, spread evenly over the day.

    By a hash of its name and not by counting: every n-th part of a turntable may come from the same place.
    """
    name = f"{verdict.camera}/{verdict.epoch}/{verdict.sequence}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest()) < share * 2**64


def remove_picture(path: Path) -> None:
    """Removes a picture and its heatmap, and folders that become empty."""
    for file in (path, heatmap_path(path)):
        file.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()
        path.parent.parent.rmdir()


def _sum_pictures(connection: sqlite3.Connection) -> int:
    """Sums up the bytes of all pictures, a slice at a time."""
    total, last = 0, -1
    while True:
        size, end = connection.execute(
            "SELECT total(picture_bytes), max(id) FROM (SELECT id, picture_bytes FROM verdicts "
            "WHERE picture IS NOT NULL AND id > ? ORDER BY id LIMIT ?)",
            (last, _SLICE),
        ).fetchone()
        if end is None:
            return total
        total, last = total + int(size), end


@dataclass(frozen=True)
class _Wanted:
    verdict: Verdict
    image: Image
    heatmap: npt.NDArray[np.uint8] | None


class PictureKeeper(Stage):
    """Writes pictures and heatmaps, then enters their names into the journal.

    Verdicts do not wait for it. It drops and counts pictures that it has no time for. While less than a twentieth of
    the disk is free (1 GiB at most), it drops all of them, because that room is for verdicts.

    Args:
        settings: the journal's settings.
        writing: lends the journal's connection.
    """

    restarts = 3

    def __init__(self, settings: JournalSection, writing: Writing) -> None:
        super().__init__("pictures")
        self._path, self._root = settings.path, picture_folder(settings.path)
        self._all, self._none = settings.keep_images == "all", settings.keep_images == "none"
        self._share, self._writing = settings.kept_share, writing
        self._durable = settings.durability == "power"
        self._wanted: queue.Queue[_Wanted | None] = queue.Queue(_WAITING + 1)
        self._over = False
        self._counting = threading.Lock()
        self._kept = self._dropped = 0
        # Bytes of pictures: in the file when they were summed up, and entered and removed since.
        self._stored = self._added = self._removed = 0
        self._summed: sqlite3.Connection | None = None
        self._complained = float("-inf")

    def offer(self, decided: Decided) -> None:
        """Takes a frame with its verdict; never waits."""
        verdict, image = decided.verdict, decided.frame.image
        if image is None or not self._is_wanted(verdict):
            return
        heatmap = None if decided.heatmap is None else decided.heatmap.grid
        if not verdict.journaled:
            self._drop(verdict, "its verdict is not in the journal yet")
        elif self._wanted.qsize() >= _WAITING:
            self._drop(verdict, "the disk is too slow")
        else:
            self._wanted.put_nowait(_Wanted(verdict, image, heatmap))

    def work(self) -> None:
        """Writes pictures until there are no more."""
        shutil.rmtree(self._root / _TEMPORARY, ignore_errors=True)
        while True:
            wanted = self._wanted.get()
            if wanted is None:
                return
            try:
                self._write(wanted)
            except (OSError, sqlite3.Error) as error:
                self._drop(wanted.verdict, str(error))

    def drain(self) -> None:
        """Lets the stage end once all waiting pictures are written."""
        if not self._over:
            self._over = True
            self._wanted.put(None)

    def status(self) -> dict[str, Any]:
        """Returns the numbers of pictures kept and dropped."""
        with self._counting:
            return {"kept": self._kept, "dropped": self._dropped}

    def room(self) -> int:
        """Returns the bytes of all pictures in the journal; for the thread that removes them.

        The first call for a file sums them up on a connection of its own, so that no verdict waits for it.
        """
        with self._writing() as connection:
            if connection is not self._summed:
                # Pictures are entered under this lock, so each is either in the snapshot or in the counter.
                snapshot = open_reader(self._path)
                snapshot.execute("BEGIN")
                snapshot.execute("SELECT 1 FROM verdicts LIMIT 1").fetchone()
                self._added = self._removed = 0
            else:
                return self._stored + self._added - self._removed
        with closing(snapshot):
            self._stored = _sum_pictures(snapshot)
        self._summed = connection
        return self._stored + self._added

    def removed(self, size: int) -> None:
        """Notes that pictures of `size` bytes are gone; for the thread that removes them."""
        self._removed += size

    def _is_wanted(self, verdict: Verdict) -> bool:
        if self._all or self._none:
            return self._all
        return verdict.verdict == "ng" or (
            verdict.verdict == "ok" and self._share > 0 and is_drawn(verdict, self._share)
        )

    def _write(self, wanted: _Wanted) -> None:
        verdict = wanted.verdict
        if not self._has_room():
            self._drop(verdict, "the disk is nearly full")
            return
        relative = picture_path(verdict.epoch, verdict.camera, verdict.sequence)
        path = self._root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        try:
            if wanted.heatmap is not None:
                size += self._put(heatmap_path(path), cv2.imencode(".png", wanted.heatmap)[1].tobytes())
            size += self._put(
                path, cv2.imencode(".jpg", wanted.image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
            )
            with self._writing() as connection:
                found = connection.execute(
                    "UPDATE verdicts SET picture = ?, picture_bytes = ? WHERE camera = ? AND sequence = ? "
                    "AND epoch = (SELECT number FROM epochs WHERE id = ?)",
                    (str(relative), size, verdict.camera, verdict.sequence, verdict.epoch),
                ).rowcount
                self._added += size if found else 0
        except (OSError, sqlite3.Error):
            remove_picture(path)
            raise
        if not found:
            # Its verdict was too old and has been removed.
            remove_picture(path)
            return
        with self._counting:
            self._kept += 1

    def _put(self, path: Path, data: bytes) -> int:
        """Writes a file in one step, and returns its size."""
        # Not `write_atomic`, which flushes: only `durability = "power"` asks for a flush per picture.
        new = self._root / _TEMPORARY / path.name
        new.parent.mkdir(exist_ok=True)
        try:
            with new.open("wb") as file:
                file.write(data)
                if self._durable:
                    file.flush()
                    os.fsync(file.fileno())
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        return len(data)

    def _has_room(self) -> bool:
        self._root.mkdir(exist_ok=True)
        disk = os.statvfs(self._root)
        reserved = min(_MOST_RESERVED_BYTES, int(_RESERVED_SHARE * disk.f_blocks * disk.f_frsize))
        return disk.f_bavail * disk.f_frsize > reserved

    def _drop(self, verdict: Verdict, why: str) -> None:
        with self._counting:
            self._dropped += 1
            now = time.monotonic()
            if now - self._complained < _COMPLAIN_S:
                return
            self._complained = now
        log.warning("the picture of %s frame %d is not kept (%s); %d pictures were not kept so far",
                    verdict.camera, verdict.sequence, why, self._dropped)  # fmt: skip
