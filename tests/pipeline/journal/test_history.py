"""History finds what a journal holds, by every filter, a page at a time, and opens nothing else."""

from __future__ import annotations

import dataclasses
import itertools
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest

from engines.errors import ConfigError, DataError
from pipeline.journal.file import open_writer, write_entries
from pipeline.journal.history import Count, History
from pipeline.journal.indexing import index_journal
from pipeline.journal.labels import LabelBook, VerdictKey
from pipeline.journal.pictures import picture_folder
from pipeline.journal.search import Key
from pipeline.journal.selection import Selection
from pipeline.journal.trends import MOST_INTERVALS, hours, shifts
from pipeline.protocol.entry import Entry, Facts
from pipeline.protocol.verdict import Outcome, Reason, Verdict, pack
from tests.pipeline.parts import PICTURE, Running, decide, held, until, verify

PUBLISH = {"verdicts": "tcp://127.0.0.1:*"}
HOUR = 3_600 * 10**9
BEGAN = 1_740_787_200 * 10**9
COUNT = 600


def draw(count: int = COUNT) -> list[Verdict]:
    """Verdicts of three cameras over five hours; some at the very same moment."""
    dice, found = random.Random(3), []
    for number in range(count):
        outcome: Outcome = dice.choices(("ok", "ng", "uninspected"), (8, 2, 1))[0]
        verdict = decide(dice.choice("abc"), number, outcome, BEGAN + number // 2 * HOUR // 60).verdict
        late: Reason | None = dice.choice(("late", "dropped")) if outcome == "uninspected" else None
        score = None if late else round(dice.uniform(0, 10), 3)
        part = dice.choice((None, f"lot-{dice.randrange(9)}/{number:04d}", "übel/%_*"))
        found.append(dataclasses.replace(verdict, epoch="ab1", reason=late, score=score, part=part, journaled=True))
    return found


def write(path: Path, verdicts: list[Verdict]) -> None:
    with closing(open_writer(path, "process")) as connection:
        write_entries(connection, [entry(verdict) for verdict in verdicts], BEGAN)


def entry(verdict: Verdict, *, facts: bool = True) -> Entry:
    body = pack(verdict, None)[1]
    known = Facts(verdict.reason, verdict.score, verdict.part, verdict.latency.total)
    return Entry(verdict.epoch, verdict.camera, verdict.sequence, verdict.captured_at, verdict.verdict, body, None,
                 known if facts else None)  # fmt: skip


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "line.journal"
    write(path, draw())
    with LabelBook(path, wall_ns=lambda: 9) as book:
        for verdict in draw()[::7]:
            label = ("false alarm", "missed defect", "confirmed")[verdict.sequence % 3]
            book.set(VerdictKey(verdict.camera, verdict.epoch, verdict.sequence), label, "anna")  # type: ignore[arg-type]
        for verdict in draw()[::21]:
            book.set(VerdictKey(verdict.camera, verdict.epoch, verdict.sequence), None, "bert")
    return path


def labels() -> dict[int, str]:
    found = {verdict.sequence: ("false alarm", "missed defect", "confirmed")[verdict.sequence % 3]
             for verdict in draw()[::7]}  # fmt: skip
    for verdict in draw()[::21]:
        del found[verdict.sequence]
    return found


def admits(selection: Selection, verdict: Verdict, label: str | None) -> bool:
    """What a selection means, in plain words."""
    part = selection.part
    return all(
        (
            not selection.cameras or verdict.camera in selection.cameras,
            selection.since is None or verdict.captured_at >= selection.since,
            selection.until is None or verdict.captured_at < selection.until,
            not selection.verdicts or verdict.verdict in selection.verdicts,
            not selection.reasons or verdict.reason in selection.reasons,
            part is None or verdict.part == part
            or (part.endswith("*") and verdict.part is not None and verdict.part.startswith(part[:-1])),
            selection.lowest is None or (verdict.score is not None and verdict.score >= selection.lowest),
            selection.highest is None or (verdict.score is not None and verdict.score <= selection.highest),
            not selection.labels or label in selection.labels,
            not selection.unlabelled or label is None,
        )
    )  # fmt: skip


def expected(selection: Selection) -> list[int]:
    """The sequences of the selected verdicts, newest first."""
    known = labels()
    chosen = [verdict for verdict in draw() if admits(selection, verdict, known.get(verdict.sequence))]
    return [verdict.sequence for verdict in sorted(chosen, key=Key.of, reverse=True)]


def pages(history: History, selection: Selection, size: int) -> Iterator[list[Verdict]]:
    after = None
    while True:
        page = history.page(selection, after, size)
        assert page.skipped == 0
        yield [found.verdict for found in page.found]
        if page.after is None:
            return
        after = page.after


SELECTIONS = [
    Selection(),
    Selection(cameras=("b",)),
    Selection(cameras=("a", "c"), verdicts=("ng",)),
    Selection(since=BEGAN + HOUR, until=BEGAN + 2 * HOUR),
    Selection(verdicts=("uninspected",), reasons=("late",)),
    Selection(reasons=("corrupt",)),
    Selection(part="lot-3/*"),
    Selection(part="*"),
    Selection(part="übel/%_*"),
    Selection(part="lot-3/0000"),
    Selection(lowest=9.5),
    Selection(lowest=2.0, highest=2.5, cameras=("a",)),
    Selection(labels=("false alarm",)),
    Selection(labels=("confirmed", "missed defect"), cameras=("b",), since=BEGAN + HOUR),
    Selection(unlabelled=True, verdicts=("ng",)),
    Selection(("a", "b"), BEGAN, BEGAN + 5 * HOUR, ("ok", "ng"), (), "lot*", 1.0, 9.0, ("confirmed",)),
]


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


def version_1(path: Path, verdicts: list[Verdict]) -> None:
    """Writes a journal as the first Taktline did."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(Path(__file__).with_name("version_1.sql").read_text())
        connection.execute("INSERT INTO epochs VALUES (1, 'ab1', 0)")
        connection.executemany(
            "INSERT INTO verdicts (epoch, camera, sequence, captured_at, verdict, body) VALUES (1, ?, ?, ?, ?, ?)",
            [(v.camera, v.sequence, v.captured_at, v.verdict, entry(v).body) for v in verdicts],
        )
        heads = {v.camera: v.sequence for v in verdicts}
        connection.executemany("INSERT INTO heads VALUES (?, 1, ?)", heads.items())
        connection.commit()


def test_an_older_journal_is_read_at_once_and_searched_once_its_line_has_run(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    verdicts = draw()
    version_1(path, verdicts)
    assert sorted(found.verdict.sequence for found in held(path)) == list(range(COUNT))
    simple = Selection(("a",), since=BEGAN + HOUR, verdicts=("ng",))
    assert sorted(found.verdict.sequence for found in held(path, simple)) == sorted(expected(simple))
    with pytest.raises(DataError, match="cannot be searched for that yet; `taktline journal index"):
        held(path, Selection(part="*"))
    with History(path) as history:
        assert history.unsearched == COUNT
        with pytest.raises(DataError, match="was written by an earlier Taktline"):
            history.page(Selection())
    with LabelBook(path) as book:
        book.set(VerdictKey(verdicts[0].camera, "ab1", 0), "confirmed", "anna")
    with Running(PUBLISH, {"path": path}) as running, History(path) as history:
        new = running.publish(5)
        assert history.page(Selection(), size=5).found[0].verdict == new[-1]
        until(lambda: history.unsearched == 0)
        assert history.count(Selection()).number == COUNT + 5
        for selection in SELECTIONS:
            if not selection.labels and not selection.unlabelled:
                narrow = dataclasses.replace(selection, until=selection.until or BEGAN + 9 * HOUR)
                found = [found.verdict.sequence for found in history.page(narrow, size=1000).found]
                assert found == expected(selection)
    assert not [fault for fault in verify(path).faults if "history" in fault]
    assert held(path, Selection(labels=("confirmed",)))[0].verdict.sequence == 0


def test_a_journal_can_be_made_searchable_without_its_line(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    version_1(path, draw())
    with closing(sqlite3.connect(path)) as connection:
        # Damaged and foreign bodies are found by their time and camera.
        connection.execute("UPDATE verdicts SET body = x'c1' WHERE sequence = 3")
        foreign = msgpack.packb({"latency": {}, "score": "x"})
        connection.execute("UPDATE verdicts SET body = ? WHERE sequence = 4", (foreign,))
        connection.commit()
    steps: list[int] = []
    assert index_journal(path, steps.append) == COUNT
    assert steps == sorted(steps)
    with History(path) as history:
        assert (history.unsearched, history.count(Selection()).number) == (0, COUNT)
        found = [found.verdict.sequence for found in history.page(Selection(part="lot-3/*"), size=1000).found]
        assert found == [sequence for sequence in expected(Selection(part="lot-3/*")) if sequence not in (3, 4)]
    assert index_journal(path, steps.append) == 0
    with Running(PUBLISH, {"path": path}), pytest.raises(ConfigError, match="another line is writing"):
        index_journal(path, steps.append)


def test_facts_come_from_the_body_where_nobody_gives_them(tmp_path: Path) -> None:
    path = tmp_path / "line.journal"
    with closing(open_writer(path, "process")) as connection:
        write_entries(connection, [entry(verdict, facts=False) for verdict in draw()], BEGAN)
    for selection in (Selection(part="lot-3/*"), Selection(lowest=9.0), Selection(reasons=("late",))):
        assert sorted(found.verdict.sequence for found in held(path, selection)) == sorted(expected(selection))


def test_trends_are_those_of_each_interval(journal: Path) -> None:
    edges = [BEGAN + hour * HOUR for hour in range(7)]
    selection = Selection(cameras=("a", "b"))
    with History(journal) as history:
        trends = history.trends(selection, edges)
    for trend, (since, until_) in zip(trends, itertools.pairwise(edges), strict=True):
        own = [v for v in draw() if v.camera in "ab" and since <= v.captured_at < until_]
        assert (trend.since, trend.until, trend.total) == (since, until_, len(own))
        for outcome in ("ok", "ng", "uninspected"):
            assert trend.verdicts[outcome] == sum(v.verdict == outcome for v in own)
        assert sum(trend.reasons.values()) == trend.verdicts["uninspected"]
        scores = [v.score for v in own if v.score is not None]
        if scores:
            np.testing.assert_allclose(trend.scores, np.quantile(scores, (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)))
            assert trend.share("ng") == trend.verdicts["ng"] / len(own)
            assert trend.latencies == (6.0, 6.0)
        else:
            assert (trend.scores, trend.latencies, trend.share("ng")) == ((), (), None)
    assert trends[-1].total == 0 < trends[0].total


def test_hours_and_shifts_have_edges_and_too_many_are_refused(journal: Path) -> None:
    since = datetime(2025, 3, 1, 5, 30).astimezone()
    until_ = datetime(2025, 3, 1, 15, 0).astimezone()

    def local(edges: list[int]) -> list[str]:
        return [datetime.fromtimestamp(edge / 1e9).strftime("%d %H:%M") for edge in edges]

    assert local(hours(since, until_, 4)) == ["01 05:00", "01 09:00", "01 13:00", "01 17:00"]
    begins = [time_of_day(14), time_of_day(6), time_of_day(22)]
    assert local(shifts(since, until_, begins)) == ["28 22:00", "01 06:00", "01 14:00", "01 22:00"]
    with pytest.raises(ConfigError, match="at least one time"):
        shifts(since, until_, [])
    with History(journal) as history:
        for wrong in ([], [1], [2, 1], [1, 1], list(range(MOST_INTERVALS + 2)),
                      hours(datetime(1990, 1, 1, tzinfo=UTC), until_)):  # fmt: skip
            with pytest.raises(ConfigError):
                history.trends(Selection(), wrong)


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
