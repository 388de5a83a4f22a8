"""History finds what a journal holds, by every filter, a page at a time, and opens nothing else."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import DataError
from pipeline.journal.file import open_writer, write_entries
from pipeline.journal.history import Count, History
from pipeline.journal.labels import VerdictKey
from pipeline.journal.pictures import picture_folder
from pipeline.journal.search import Key
from pipeline.journal.selection import Selection
from pipeline.protocol.entry import Entry, Facts
from pipeline.protocol.verdict import Verdict
from tests.pipeline.journal.drawn import BEGAN, PUBLISH, SELECTIONS, draw, entry, expected, labels, write
from tests.pipeline.parts import PICTURE, Running, decide, held, until, verify


def pages(history: History, selection: Selection, size: int) -> Iterator[list[Verdict]]:
    after = None
    while True:
        page = history.page(selection, after, size)
        assert page.skipped == 0
        yield [found.verdict for found in page.found]
        if page.after is None:
            return
        after = page.after


@pytest.mark.parametrize("selection", SELECTIONS, ids=range(len(SELECTIONS)))
def test_pages_counts_and_neighbours_are_those_of_the_filter(journal: Path, selection: Selection) -> None:
    wanted = expected(selection)
    with History(journal) as history:
        for size in (7, 50):
            found = list(itertools.chain.from_iterable(pages(history, selection, size)))
            assert [verdict.sequence for verdict in found] == wanted
        assert history.count(selection) == Count(len(wanted), False)
        assert history.count(selection, 3) == Count(min(3, len(wanted)), len(wanted) > 3)
        keys = [Key.of(verdict) for verdict in found]
        for index in range(0, len(keys), 13):
            newer = keys[index - 1] if index else None
            older = keys[index + 1] if index + 1 < len(keys) else None
            assert history.neighbours(selection, keys[index]) == (newer, older)
    assert sorted(found.verdict.sequence for found in held(journal, selection)) == sorted(wanted)
    known = labels()
    assert {verdict.sequence: verdict.label.label for verdict in found if verdict.label} == {
        sequence: known[sequence] for sequence in wanted if sequence in known
    }


def test_a_page_stays_where_it_was_while_verdicts_come_and_go(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    verdicts = draw()
    write(path, verdicts[:300])
    with History(path) as history:
        first = history.page(Selection(), size=100)
        write(path, verdicts[300:])
        second = history.page(Selection(), first.after, size=100)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM verdicts WHERE id <= 50")
            connection.commit()
        third = history.page(Selection(), second.after, size=200)
    seen = [found.verdict.sequence for page in (first, second, third) for found in page.found]
    assert seen == sorted((v.sequence for v in verdicts[50:300]), key=lambda s: Key.of(verdicts[s]), reverse=True)
    assert third.after is None
    assert verify(path).good is False, "the deleted ones are missing"
    assert all("history" not in fault for fault in verify(path).faults)


def test_a_key_whose_verdict_is_gone_still_leads_on(journal: Path) -> None:
    with History(journal) as history:
        everything = [Key.of(found.verdict) for found in history.page(Selection(), size=1000).found]
        between = everything[100]._replace(camera="bb")
        newer, older = history.neighbours(Selection(), between)
        assert newer is not None and older is not None
        assert newer > between > older
        page = history.page(Selection(), Key(everything[100].captured_at, "zz", "never", 0), size=1)
        assert Key.of(page.found[0].verdict) <= everything[99]


def test_one_part_is_shown_with_its_picture_and_heatmap(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        bad, good = running.publish(2)
        with History(path) as history:
            one = VerdictKey("a", bad.epoch, bad.sequence)
            until(lambda: history.picture(one) is not None)
            picture, heatmap = history.picture(one), history.heatmap(one)
            found = history.find(one)
            assert found is not None and found.heatmap is not None
            assert found.verdict == bad
            assert np.abs(_decode(picture)[..., 0].astype(int) - PICTURE[..., 0]).max() < 8
            np.testing.assert_array_equal(_decode(heatmap)[..., 0], found.heatmap.grid)
            other = VerdictKey("a", good.epoch, good.sequence)
            assert (history.picture(other), history.heatmap(other)) == (None, None)
            assert history.find(other._replace(sequence=99)) is None
            assert history.picture(other._replace(sequence=99)) is None


def _decode(data: bytes | None) -> Any:
    assert data is not None
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "link.jpg", "folder", "gone.jpg", ""])
def test_no_file_outside_the_folder_of_pictures_is_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / "line.journal"
    write(path, draw(1))
    (verdict,) = draw(1)
    root = picture_folder(path)
    (root / "a").mkdir(parents=True)
    (root / "folder").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link.jpg").symlink_to(tmp_path / "secret")
    (root / "link.heatmap.png").symlink_to(tmp_path / "secret")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE verdicts SET picture = ?", (name,))
        connection.commit()
    with History(path) as history:
        one = VerdictKey(verdict.camera, verdict.epoch, verdict.sequence)
        assert history.picture(one) is None
        assert history.heatmap(one) is None


def test_a_verdict_that_cannot_be_read_is_counted_and_the_page_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    write(path, draw(20))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE verdicts SET body = x'c1' WHERE sequence = 3")
        connection.commit()
    with History(path) as history:
        page = history.page(Selection(), size=20)
        assert (len(page.found), page.skipped) == (19, 1)
        with pytest.raises(DataError, match="sequence 3 cannot be read"):
            history.find(VerdictKey(draw(20)[3].camera, "ab1", 3))


def test_it_follows_the_line_to_a_new_journal(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    write(path, draw(20))
    with History(path) as history:
        assert history.count(Selection()).number == 20
        path.rename(tmp_path / "aside")
        with pytest.raises(DataError, match="there is no journal"):
            history.page(Selection())
        write(path, draw(7))
        assert history.count(Selection()).number == 7
        assert history.unsearched == 0


@pytest.mark.serial
def test_a_deep_page_takes_no_longer_than_the_first(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    verdicts = [decide("a", number, "ok", BEGAN + number).verdict for number in range(2_000)]
    bodies = entry(dataclasses.replace(verdicts[0], epoch="ab1")).body
    with closing(open_writer(path, "process")) as connection:
        for first in range(0, 60_000, 2_000):
            write_entries(
                connection,
                [Entry("ab1", "a", first + n, BEGAN + first + n, "ok", bodies, None, Facts(None, 1.0, None, 6))
                 for n in range(2_000)], 1,
            )  # fmt: skip
    with History(path) as history:

        def cost(after: Key | None) -> float:
            started = time.thread_time()
            for _ in range(20):
                history.page(Selection(verdicts=("ok",)), after)
            return time.thread_time() - started

        assert cost(Key(BEGAN + 500, "a", "ab1", 500)) < 3 * cost(None)
