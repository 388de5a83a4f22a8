"""A folder that another process writes into: every picture is given once, whole, whatever happens to the folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import DataError
from pipeline.flow.frame import Frame
from pipeline.sources.arrivals import Arrival, Arrivals
from pipeline.sources.folder import FolderSource
from tests.pipeline.sources.live import WRITER, line_config, running


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    return path


def run(program: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True, timeout=60)


COPY = """
import os, sys
picture = open(sys.argv[1], "rb").read()
for name in sys.argv[2:]:
    with open(os.fsencode(name), "wb") as file:
        file.write(picture)
"""


class Followed:
    """What a followed folder has given so far, read in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.source = FolderSource("c", folder, follow=True)
        self.frames: list[Frame] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        self.frames.extend(self.source.frames(self.stop))

    @property
    def parts(self) -> list[str | None]:
        return [frame.part for frame in self.frames]

    def until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert self.thread.is_alive() and time.monotonic() < deadline, (self.parts, self.source.trouble)
            time.sleep(0.02)


@contextmanager
def following(folder: Path) -> Iterator[Followed]:
    followed = Followed(folder)
    try:
        yield followed
    finally:
        followed.stop.set()
        followed.thread.join(10)
    assert not followed.thread.is_alive()


def test_pictures_come_by_name_and_broken_ones_are_marked(tmp_path: Path) -> None:
    for name, shape in (("b.png", (20, 30, 3)), ("a.jpg", (8, 8)), ("d.bmp", (5, 9, 3))):
        cv2.imwrite(str(tmp_path / name), np.full(shape, 9, np.uint8))
    (tmp_path / "c.png").write_bytes((tmp_path / "b.png").read_bytes()[:40])
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    frames = list(FolderSource("c", tmp_path).frames(threading.Event()))
    assert [frame.part for frame in frames] == ["a.jpg", "b.png", "c.png", "d.bmp"]
    assert all(frame.image is None for frame in frames), "decoded only when their turn comes"
    for index in (0, 1, 3):
        frames[index].decode()
    assert [frame.image.shape for frame in frames if frame.image is not None] == [(8, 8), (20, 30, 3), (5, 9, 3)]
    with pytest.raises(DataError, match=r"^c\.png is cut short"):
        frames[2].decode()


def test_a_file_is_held_back_until_it_is_whole(inbox: Path, picture: Path) -> None:
    """Another process writes each picture in halves, with a pause longer than a file must stand still."""
    with following(inbox) as followed:
        run(WRITER, inbox, picture)
        followed.until(lambda: len(followed.frames) == 3)
    assert followed.parts == ["0.png", "1.png", "2.png"]
    for frame in followed.frames:
        frame.decode()
        assert frame.image is not None


BUSY = """
import os, sys, time
folder, picture = sys.argv[1], open(sys.argv[2], "rb").read()
for number in range(150):
    path = f"{folder}/{number:03}.png"
    if number % 3 == 0:
        with open(path + ".part", "wb") as file:
            file.write(picture)
        os.replace(path + ".part", path)
    else:
        with open(path, "wb", buffering=0) as file:
            file.write(picture[:100])
            if number % 3 == 1:
                time.sleep(0.01)
            file.write(picture[100:])
    time.sleep(0.005)
"""


def test_of_many_that_arrive_at_once_none_is_missed_or_given_twice(inbox: Path, picture: Path) -> None:
    """Some are renamed into place, some written in pieces, and what was given is cleared away meanwhile."""
    with following(inbox) as followed, subprocess.Popen([sys.executable, "-c", BUSY, inbox, picture]):
        cleared = 0
        deadline = time.monotonic() + 60
        while len(followed.frames) < 150:
            assert time.monotonic() < deadline, followed.parts
            for frame in followed.frames[cleared::2]:
                (inbox / str(frame.part)).unlink(missing_ok=True)
            cleared = len(followed.frames)
            time.sleep(0.05)
        time.sleep(1.0)
    assert sorted(map(str, followed.parts)) == [f"{number:03}.png" for number in range(150)]
    for frame in followed.frames:
        frame.decode()
        assert frame.image is not None


def test_a_name_that_is_not_utf_8_is_made_readable(inbox: Path, picture: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    with following(inbox) as followed:
        run(COPY, picture, inbox / name)
        followed.until(lambda: len(followed.frames) == 1)
    assert followed.parts == ["caf\\xe9.png"]
    assert [frame.part for frame in FolderSource("c", inbox).frames(threading.Event())] == ["caf\\xe9.png"]


def test_a_folder_that_vanishes_is_reported_and_followed_again(inbox: Path, picture: Path) -> None:
    away = inbox.parent / "away"
    with following(inbox) as followed:
        run(COPY, picture, inbox / "a.png", inbox / "b.png")
        followed.until(lambda: len(followed.frames) == 2)
        inbox.rename(away)
        followed.until(lambda: followed.source.trouble is not None)
        assert followed.source.trouble == f"the folder {inbox} cannot be read (No such file or directory)"
        run(COPY, picture, away / "c.png")
        away.rename(inbox)
        followed.until(lambda: len(followed.frames) == 3)
        followed.until(lambda: followed.source.trouble is None)
    assert followed.parts == ["a.png", "b.png", "c.png"]


def test_a_share_that_was_unmounted_for_a_while_is_not_given_again(inbox: Path, picture: Path) -> None:
    """An unmounted share leaves an empty folder in its place, which can be read."""
    away = inbox.parent / "away"
    with following(inbox) as followed:
        run(COPY, picture, inbox / "a.png", inbox / "b.png")
        followed.until(lambda: len(followed.frames) == 2)
        inbox.rename(away)
        inbox.mkdir()
        run(COPY, picture, inbox / "local.png")
        followed.until(lambda: len(followed.frames) == 3)
        run(COPY, picture, away / "c.png")
        (inbox / "local.png").unlink()
        inbox.rmdir()
        away.rename(inbox)
        followed.until(lambda: len(followed.frames) == 4)
        time.sleep(1.0)
    assert followed.parts == ["a.png", "b.png", "local.png", "c.png"]


def test_a_name_written_anew_is_a_new_picture(inbox: Path, picture: Path) -> None:
    """Even in the same size and with the same time, once the old file was gone: names are not remembered for ever."""
    path = inbox / "a.png"
    with following(inbox) as followed:
        run(COPY, picture, path)
        followed.until(lambda: len(followed.frames) == 1)
        run(COPY, picture, path)
        followed.until(lambda: len(followed.frames) == 2)
        before = path.stat()
        path.unlink()
        time.sleep(0.5)
        run(COPY, picture, path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        followed.until(lambda: len(followed.frames) == 3)


def test_what_stays_broken_or_unreadable_is_given_all_the_same(inbox: Path, picture: Path) -> None:
    """It is a part that passed, and it holds up no other."""
    (inbox / "half.png").write_bytes(picture.read_bytes()[:100])
    (inbox / "folder.png").mkdir()
    (inbox / "loop.png").symlink_to("loop.png")
    run(COPY, picture, inbox / "whole.png")
    arrivals = Arrivals(inbox, give_up_s=1.0)
    found: dict[str, Arrival] = {}
    arrivals.add(["half.png", "folder.png", "loop.png", "whole.png", "gone.png"])
    deadline = time.monotonic() + 30
    while len(found) < 3:
        assert time.monotonic() < deadline
        found |= {arrival.name: arrival for arrival in arrivals.whole()}
        time.sleep(0.05)
    assert next(iter(found)) == "whole.png"
    assert found["half.png"].data is not None
    assert found["loop.png"].fault == f"{inbox}/loop.png cannot be read: Too many levels of symbolic links"


def test_following_can_be_stopped(inbox: Path) -> None:
    with following(inbox):
        pass


def test_a_line_gives_each_picture_its_verdict_whatever_its_name(
    bundle_path: Path, drawn: Path, tmp_path: Path
) -> None:
    """They are written slowly and in halves."""
    values = line_config(bundle_path, f"folder:{tmp_path}", follow=True)
    with running(values) as (_, answers):
        picture = drawn / "train" / "good" / "000.png"
        run(WRITER, tmp_path, picture)
        answers.await_in_all(3)
        run(COPY, picture, tmp_path / os.fsdecode(b"caf\xe9.png"))
        answers.await_in_all(4)
    assert [verdict.part for verdict in answers.verdicts] == ["0.png", "1.png", "2.png", "caf\\xe9.png"]
    assert {verdict.reason for verdict in answers.verdicts} == {None}


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        FolderSource("c", tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        FolderSource("c", tmp_path / "none", follow=True)
