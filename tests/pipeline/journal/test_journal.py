"""The journal: what was published is in it, through restarts and under its own limits."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from engines.errors import ConfigError
from engines.image import read_image
from pipeline.config.line_file import check_config
from pipeline.config.sections import JournalSection
from pipeline.journal.pictures import heatmap_path, is_drawn
from pipeline.journal.selection import Selection
from pipeline.protocol.verdict import Verdict
from tests.pipeline.parts import PICTURE, Running, held, sequences, until, verify

PUBLISH = {"verdicts": "tcp://127.0.0.1:*"}


@pytest.mark.usefixtures("no_thread_left")
def test_what_is_published_is_in_the_journal_and_sequences_go_on(tmp_path: Path) -> None:
    journal = {"path": tmp_path / "new" / "line.journal"}
    published = []
    for durability in ("process", "power", "process"):
        with Running(PUBLISH, journal | {"durability": durability}, ("a", "b")) as running:
            published += running.publish(40, "a")
            published += running.publish(7, "b")
            assert held(journal["path"])[-1].verdict == published[-1]
    assert [found.verdict for found in held(journal["path"])] == published
    assert sequences(published, "a") == list(range(120))
    assert sequences(published, "b") == list(range(21))
    assert len({verdict.epoch for verdict in published}) == 1
    assert all(verdict.journaled and verdict.latency.publish > 0 for verdict in published)
    found = verify(journal["path"])
    assert (found.good, found.verdicts, found.waited) == (True, 141, 0)


def test_a_line_without_a_journal_says_so(tmp_path: Path) -> None:
    epochs = set()
    for _ in range(2):
        with Running(PUBLISH, None) as running:
            (verdict,) = running.publish(1)
            assert (verdict.sequence, verdict.journaled) == (0, False)
            epochs.add(verdict.epoch)
    assert len(epochs) == 2


def test_pictures_lie_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    for which, expected in (("none", 0), ("ng", 1), ("all", 11)):
        with Running(PUBLISH, {"path": path, "keep_images": which}) as running:
            running.publish(10)
            running.close()
            assert running.status()["pictures"]["dropped"] == 0
        assert verify(path).pictures == expected
    shown = [found for found in held(path) if found.picture is not None]
    assert [found.verdict.sequence for found in shown] == [10, *range(20, 30)]
    first = shown[0]
    assert first.picture is not None and first.heatmap is not None
    assert np.abs(read_image(first.picture).astype(int) - PICTURE).max() < 8
    np.testing.assert_array_equal(read_image(heatmap_path(first.picture))[..., 0], first.heatmap.grid)


def _has_decided(running: Running, count: int) -> bool:
    """Whether so many pictures were kept, or dropped because the disk was too slow for them."""
    found = running.status()["pictures"]
    return bool(found["kept"] + found["dropped"] == count)


def test_a_random_share_of_good_parts_is_kept_evenly_over_the_day(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path, "keep_images": "ng+0.5"}, ("a", "b")) as running:
        published: list[Verdict] = []
        expected: list[Verdict] = []
        for camera in "abab":
            more = running.publish(20, camera)
            published += more
            expected += [verdict for verdict in more if verdict.verdict == "ng" or is_drawn(verdict, 0.5)]
            # No more wait at once than the keeper takes.
            until(partial(_has_decided, running, len(expected)))
        dropped = running.status()["pictures"]["dropped"]
    kept = [found.verdict for found in held(path) if found.picture is not None]
    assert {(one.camera, one.sequence) for one in kept} <= {(one.camera, one.sequence) for one in expected}
    assert len(kept) + dropped == len(expected)
    assert 8 < len(kept) < 80
    one = published[0]
    drawn = np.array([is_drawn(replace(one, sequence=index), 0.05) for index in range(48_000)])
    assert 2200 < drawn.sum() < 2600
    # No hour goes without, and no place of a turntable with 24 places is preferred.
    hours = drawn.reshape(20, -1).sum(1)
    assert 75 < hours.min() <= hours.max() < 165
    places = [drawn[place::24].sum() for place in range(24)]
    assert 60 < min(places) <= max(places) < 145
    other = [is_drawn(replace(one, camera="b", sequence=index), 0.05) for index in range(2000)]
    assert drawn[:2000].tolist() != other


@pytest.mark.parametrize(
    "which", ["ok", "ng+", "ng+0", "ng+1", "ng+2", "ng+-0.5", "ng+x", "ng+.", "all+0.1", "ng+1e-3"]
)
def test_a_share_that_is_none_is_refused(which: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="such as ng"):
        JournalSection.model_validate({"path": tmp_path / "j", "keep_images": which})


@pytest.mark.parametrize(("which", "share"), [("ng", 0), ("all", 0), ("ng+0.01", 0.01), ("ng+.25", 0.25)])
def test_shares_are_read(which: str, share: float, tmp_path: Path) -> None:
    section = JournalSection.model_validate({"path": tmp_path / "j", "keep_images": which})
    assert section.kept_share == share


def test_what_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    text, database, folder = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "folder"
    text.write_text("Do not lose this. " * 100)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.commit()
    folder.mkdir()
    (tmp_path / "empty").touch()
    before = {path: path.read_bytes() for path in (text, database)}
    for path, message in (
        (text, "is not a Taktline journal and is left unchanged"),
        (database, "is another program's database"),
        (folder, "is a folder"),
        (Path("/dev/null"), "is a device"),
    ):
        with pytest.raises(ConfigError, match=message):
            Running(PUBLISH, {"path": path})
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "other.db", "folder", "empty"}
    assert not Path("/dev/null.lock").exists()
    with Running(PUBLISH, {"path": tmp_path / "empty"}) as running:
        assert all(verdict.journaled for verdict in running.publish(2))


def test_a_file_that_is_removed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}) as running:
        published = running.publish(10)
        for name in ("line.journal", "line.journal-wal", "line.journal-shm"):
            (tmp_path / name).unlink()
        published += running.publish(10)
        assert not published[-1].journaled
        until(lambda: running.status()["trouble"] is None)
        published += running.publish(10)
    assert [found.verdict for found in held(path)] == published[10:]
    assert verify(path).good


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    journal = {"path": tmp_path / "line.journal"}
    with Running(PUBLISH, journal), pytest.raises(ConfigError, match="another line is writing"):
        Running(PUBLISH, journal)
    with Running(PUBLISH, journal):
        pass


def test_paths_that_cannot_be_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be created"):
        Running(PUBLISH, {"path": tmp_path / "file" / "line.journal"})
    with pytest.raises(ConfigError, match="is a folder"):
        Running(PUBLISH, {"path": tmp_path})
    values = {
        "model": {"bundle": "b"}, "camera": [{"name": "a", "source": "folder:x"}],
        "publish": {"replay": "tcp://127.0.0.1:5557"},
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"add a \[journal\]"):
        check_config(values, "line.toml")


def test_a_selection_finds_by_camera_time_and_verdict(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with Running(PUBLISH, {"path": path}, ("a", "b")) as running:
        running.publish(20, "a", captured_at=1_000)
        running.publish(20, "b", captured_at=2_000)

    def count(selection: Selection) -> int:
        return len(held(path, selection))

    assert count(Selection()) == 40
    assert count(Selection(cameras=("b",))) == 20
    assert count(Selection(since=1_001)) == 20
    assert count(Selection(since=1_000, until=2_000)) == 20
    assert count(Selection(verdicts=("ng",))) == 4
    assert count(Selection(verdicts=("ok", "ng"), cameras=("a",), until=1_000)) == 0
