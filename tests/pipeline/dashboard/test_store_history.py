"""History and trends from a store: the same as from the journal whose verdicts it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engines.errors import DataError
from pipeline.config.lines_file import KnownLine
from pipeline.dashboard.feed import LineFeed
from pipeline.dashboard.settings import read_dashboard_file
from pipeline.dashboard.store_history import HistoryPlace, StoreHistory, StorePlace, open_history
from pipeline.journal.file import open_writer, write_entries
from pipeline.journal.history import Count
from pipeline.journal.labels import LabelBook, VerdictKey
from pipeline.journal.search import Key
from pipeline.journal.selection import Selection
from pipeline.protocol.entry import Entry, Facts
from pipeline.protocol.label import Label
from pipeline.protocol.verdict import Outcome, Verdict, pack
from pipeline.store.open_store import open_store
from pipeline.store.rows import Batch
from tests.conftest import RunTaktline
from tests.peers.postgres import Postgres
from tests.pipeline.parts import decide

BEGAN = 1_700_000_000_000_000_000
EVERY_NS = 40_000_000_000_003
COUNT = 60
OUTCOMES: tuple[Outcome, ...] = ("ok", "ok", "ng", "uninspected")


def verdicts() -> list[Verdict]:
    """Of two cameras, over a month; two frames lie within one microsecond."""
    found = []
    for number in range(COUNT):
        outcome = OUTCOMES[number % 4]
        moment = BEGAN + number * EVERY_NS if number % 10 else BEGAN + (number + 1) * EVERY_NS + 1
        verdict = decide("ab"[number % 2], number // 2, outcome, moment).verdict
        missing = outcome == "uninspected"
        found.append(dataclasses.replace(
            verdict, epoch="5f0c", reason="late" if missing else None, score=None if missing else number / 10,
            part=f"lot-{number % 3}/{number}",
        ))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("history") / "test.journal"
    entries = []
    for verdict in verdicts():
        _, body, *rest = pack(verdict, None)
        facts = Facts(verdict.reason, verdict.score, verdict.part, verdict.latency.total)
        entries.append(Entry("5f0c", verdict.camera, verdict.sequence, verdict.captured_at, verdict.verdict, body,
                             rest[0] if rest else None, facts))  # fmt: skip
    with closing(open_writer(path, "process")) as connection:
        write_entries(connection, entries, BEGAN)
    with LabelBook(path) as book:
        book.set(VerdictKey("a", "5f0c", 3), "false alarm", "anna", "dust")
    return path


@pytest.fixture(scope="module", params=["postgres", "sqlite"])
def place(request: pytest.FixtureRequest, journal: Path) -> Iterator[StorePlace]:
    server = Postgres(fsync="off") if request.param == "postgres" else None
    address = f"sqlite:{journal.with_suffix('.sqlite')}"
    if server is not None:
        server.start()
        address = server.url
    found = [
        dataclasses.replace(verdict, label=Label("false alarm", "anna", 7, "dust"))
        if (verdict.camera, verdict.sequence) == ("a", 3) else verdict
        for verdict in verdicts()
    ]  # fmt: skip
    with open_store(address) as store:
        store.write([Batch("test", found, {}), Batch("other", [dataclasses.replace(found[0], line="other")], {})])
    yield StorePlace(address, "test")
    if server is not None:
        server.close()


def keys(place: HistoryPlace, selection: Selection, size: int = 7) -> list[Key]:
    """Of all pages, one after the other."""
    found: list[Key] = []
    with open_history(place) as history:
        after = None
        while True:
            page = history.page(selection, after, size)
            found += [Key.of(one.verdict) for one in page.found]
            if (after := page.after) is None:
                return found


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(cameras=("a",)),
        Selection(verdicts=("ng", "uninspected")),
        Selection(reasons=("late",)),
        Selection(part="lot-1/7"),
        Selection(part="lot-1/*"),
        Selection(lowest=2.0, highest=4.0),
        Selection(since=BEGAN + 3 * EVERY_NS, until=BEGAN + 17 * EVERY_NS),
        Selection(labels=("false alarm",)),
        Selection(unlabelled=True, cameras=("a",)),
        Selection(("a",), BEGAN, BEGAN + 50 * EVERY_NS, ("ng",), (), "lot-*", 1.0, 5.0),
    ],
)
def test_a_store_tells_what_the_journal_tells(selection: Selection, place: StorePlace, journal: Path) -> None:
    expected = keys(journal, selection)
    assert expected
    if place.address.startswith("postgresql"):
        # It orders by microseconds, and frames of the same one by their cameras.
        expected.sort(key=lambda key: (key.captured_at // 1000, *key[1:]), reverse=True)
    assert keys(place, selection) == expected
    edges = [BEGAN + number * EVERY_NS for number in range(0, COUNT + 10, 10)]
    with open_history(journal) as right, StoreHistory(place) as history:
        assert history.count(selection) == right.count(selection) == Count(len(expected), False)
        assert history.count(selection, 1) == right.count(selection, 1)
        assert history.trends(selection, edges) == right.trends(selection, edges)
        for newer, here, older in zip([None, *expected], expected, [*expected[1:], None], strict=False):
            assert history.neighbours(selection, here) == (newer, older)
        assert [Key.of(one.verdict) for one in history.all(selection)] == expected


def test_one_part_is_found_with_all_that_is_known(place: StorePlace) -> None:
    with StoreHistory(place) as history:
        wanted, labelled = (next(one for one in verdicts() if (one.camera, one.sequence) == name)
                            for name in (("b", 5), ("a", 3)))  # fmt: skip
        found = history.at(Key.of(wanted))
        assert found is not None and found.verdict == wanted
        assert found.picture is None and history.picture(VerdictKey("b", "5f0c", 5)) is None
        found = history.at(Key.of(labelled))
        assert found is not None and found.verdict.label == Label("false alarm", "anna", 7, "dust")
        assert history.at(Key.of(wanted)._replace(sequence=500)) is None


def test_a_store_that_cannot_be_read_is_told_in_a_sentence(tmp_path: Path, place: StorePlace) -> None:
    (tmp_path / "empty.sqlite").touch()
    for address in (f"sqlite:{tmp_path / 'nowhere.sqlite'}", f"sqlite:{tmp_path / 'empty.sqlite'}",
                    "postgresql://postgres:secret@127.0.0.1:1/plant"):  # fmt: skip
        with pytest.raises(DataError, match="cannot be read") as caught:
            StoreHistory(StorePlace(address, "test"))
        assert "secret" not in str(caught.value)


def test_the_settings_name_a_journal_or_a_store(tmp_path: Path, taktline_in_process: RunTaktline) -> None:
    file = tmp_path / "wall.toml"
    file.write_text('[[line]]\nname = "press4"\nstore = "postgresql://db/plant"\n')
    (line,) = read_dashboard_file(file).line
    assert LineFeed(line).history == StorePlace("postgresql://db/plant", "press4")
    assert LineFeed(KnownLine(name="press4", journal=tmp_path)).history == tmp_path
    file.write_text('[[line]]\nname = "press4"\nstore = "postgresql://db/plant"\njournal = "a.journal"\n')
    done = taktline_in_process("dashboard", file)
    assert done.returncode == 2
    assert "from a journal or from a store" in " ".join(done.stderr.split())
