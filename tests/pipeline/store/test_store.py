"""A store in PostgreSQL and in SQLite: each verdict once, what it refuses, and what is too old."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from engines.errors import ConfigError
from pipeline.protocol.label import Label
from pipeline.protocol.verdict import Latency, Verdict
from pipeline.store import partitions
from pipeline.store.open_store import open_store
from pipeline.store.partitions import partition_name
from pipeline.store.postgres import PostgresStore
from pipeline.store.rows import DAY_NS, Batch, Written, day_of
from pipeline.store.sqlite import SqliteStore
from pipeline.store.steps import STEPS, Step
from pipeline.store.store import Store, StoreDown
from tests.peers.postgres import Postgres
from tests.pipeline.conftest import SmallDisk
from tests.pipeline.parts import decide
from tests.pipeline.store.conftest import ask, is_sqlite

NOON, TODAY = 1_700_000_000_123_456_789, time.time_ns()


def verdicts(count: int, first: int = 0, captured_at: int | None = None) -> list[Verdict]:
    found = [
        decide("a", number, "ng" if number % 10 == 0 else "ok", captured_at or TODAY + number).verdict
        for number in range(first, first + count)
    ]
    return [dataclasses.replace(verdict, epoch="5f0c") for verdict in found]


def batch(found: list[Verdict], position: object = None) -> Batch:
    return Batch("test", found, position)


def sequences(store: Store) -> list[int]:
    return [row[0] for row in ask(store, "SELECT sequence FROM verdicts ORDER BY sequence")]


def test_a_row_has_all_that_a_verdict_says(store: Store) -> None:
    label = Label("false alarm", "anna", NOON + 1, "dust")
    verdict = dataclasses.replace(verdicts(1)[0], captured_at=NOON, label=label)
    assert store.write([batch([verdict])]) == Written(stored=1)
    (row,) = ask(
        store,
        "SELECT line, camera, epoch, sequence, captured_ns, verdict, reason, score, threshold, part, queue_ns, "
        "latency_ns, engine, precision, exact, bundle, journaled, label, labelled_by, labelled_ns, label_note, regions "
        "FROM verdicts",
    )
    assert row[:-1] == (
        "test", "a", "5f0c", 0, NOON, "ng", None, 9.5, 2.0, "0.png", 1, 6, "none", "f32", True, "0123456789ab", False,
        "false alarm", "anna", NOON + 1, "dust",
    )  # fmt: skip
    regions = json.loads(row[-1]) if is_sqlite(store) else row[-1]
    assert regions == [{"x": 1, "y": 2, "w": 3, "h": 4, "peak": 9.5}]
    exactly = "to_char(captured_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    moment = "captured_at" if is_sqlite(store) else exactly
    expected = "2023-11-14T22:13:20Z" if is_sqlite(store) else "2023-11-14 22:13:20.123456"
    assert ask(store, f"SELECT {moment} FROM verdicts") == [(expected,)]


def test_verdicts_and_position_are_stored_together_and_once(store: Store) -> None:
    assert store.positions() == {}
    assert store.write([batch(verdicts(50), {"a": 49})]) == Written(stored=50)
    assert store.write([batch(verdicts(50, 25), {"a": 74})]) == Written(stored=25, known=25)
    assert store.positions() == {"test": {"a": 74}}
    assert sequences(store) == list(range(75))


def test_what_is_refused_holds_up_nothing_and_is_kept_with_the_reason(store: Store) -> None:
    found = verdicts(100)
    found[37] = dataclasses.replace(found[37], latency=Latency(2**63 - 1, 1, 0, 0))
    assert store.write([batch(found, {"a": 99})]) == Written(stored=99, refused=1)
    assert sequences(store) == [number for number in range(100) if number != 37]
    ((sequence, why, body),) = ask(store, "SELECT sequence, why, body FROM refused")
    assert sequence == 37 and why
    assert json.loads(body)["latency"]["queue"] == 2**63 - 1
    # The replay may bring it again.
    assert store.write([batch(found, {"a": 99})]) == Written(known=99, refused=1)
    assert len(ask(store, "SELECT 1 FROM refused")) == 1


def test_a_text_that_postgres_cannot_hold_is_refused(postgres: Postgres) -> None:
    found = verdicts(3)
    found[1] = dataclasses.replace(found[1], part="a\0b")
    with open_store(postgres.url) as store:
        assert store.write([batch(found)]) == Written(stored=2, refused=1)
        # Somebody's own rule is as good a reason.
        postgres.ask("ALTER TABLE verdicts ADD CONSTRAINT few CHECK (sequence < 5)")
        assert store.write([batch(verdicts(4, 3))]) == Written(stored=2, refused=2)
    assert [row[0] for row in postgres.ask("SELECT sequence FROM refused ORDER BY 1")] == [1, 5, 6]


def test_what_is_too_old_is_removed_and_not_stored_again(address: str) -> None:
    now = time.time_ns()
    old, new = verdicts(5, captured_at=now - 10 * DAY_NS), verdicts(5, 5, captured_at=now)
    with open_store(address) as store:
        assert store.write([batch([*old, *new])]) == Written(stored=10)
    with open_store(address, keep_days=7) as store:
        store.tend()
        assert sequences(store) == list(range(5, 10))
        assert store.write([batch([*old, *new])]) == Written(known=5, expired=5)


def test_a_day_that_cannot_be_removed_holds_up_nothing(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "_PATIENCE", "100ms")
    old = time.time_ns() - 10 * DAY_NS
    with open_store(postgres.url) as store:
        for number, day in enumerate((old - DAY_NS, old, old + DAY_NS)):
            store.write([batch(verdicts(1, number, captured_at=day))])
    names = [partition_name(day_of(old) + days) for days in (-1, 0, 1)]
    postgres.ask(f"CREATE VIEW monday AS SELECT * FROM {names[0]}")
    with psycopg.connect(postgres.url) as reader, open_store(postgres.url, keep_days=7) as store:
        reader.execute(f"SELECT * FROM taktline.{names[1]}")
        # The reader still holds it.
        store.tend()
        assert store.write([batch(verdicts(1, 5))]) == Written(stored=1)
        assert sequences(store) == [0, 1, 5]


def test_days_have_their_partition_ahead_and_whenever_they_are_needed(postgres: Postgres) -> None:
    today = day_of(time.time_ns())

    def partitions() -> set[str]:
        rows = postgres.ask("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'verdicts'::regclass")
        return {row[0] for row in rows}

    ahead = {partition_name(day) for day in range(today, today + 3)}
    with open_store(postgres.url) as store:
        store.tend()
        assert partitions() == ahead
        # Of another year, and of a clock that runs ahead.
        for count, captured_at in enumerate((NOON, time.time_ns() + 40 * DAY_NS)):
            assert store.write([batch(verdicts(1, count, captured_at=captured_at))]) == Written(stored=1)
        assert partitions() == ahead | {"verdicts_20231114", partition_name(today + 40)}
        # Another bridge has removed a day since: it is made anew.
        postgres.ask("DROP TABLE verdicts_20231114")
        with pytest.raises(StoreDown, match="lost a partition"):
            store.write([batch(verdicts(1, captured_at=NOON))])
        assert store.write([batch(verdicts(1, captured_at=NOON))]) == Written(stored=1)
        # A day that was put aside stays as it is.
        postgres.ask("ALTER TABLE verdicts DETACH PARTITION verdicts_20231114")
        later = [*verdicts(1, 7, captured_at=NOON), *verdicts(1, 8)]
        with pytest.raises(StoreDown, match="lost a partition"):
            store.write([batch(later)])
        assert store.write([batch(later)]) == Written(stored=1, refused=1)
    assert "attach or rename" in postgres.ask("SELECT why FROM refused")[0][0]


NEXT = Step(postgres="CREATE TABLE more (n integer)", sqlite="CREATE TABLE more (n integer)")


def newer(address: str) -> Store:
    if address.startswith("sqlite:"):
        return SqliteStore(Path(address.removeprefix("sqlite:")), steps=(*STEPS, NEXT))
    return PostgresStore(address, steps=(*STEPS, NEXT))


def test_a_newer_program_migrates_and_an_older_one_says_so_and_stops(address: str) -> None:
    with open_store(address) as older, newer(address) as other:
        older.write([batch(verdicts(2))])
        assert other.write([batch(verdicts(3))]) == Written(stored=1, known=2)
        assert ask(other, "SELECT count(*) FROM more") == [(0,)]
        # It may have been connected since before.
        for store in (older, open_store(address)):
            with store, pytest.raises(ConfigError, match="schema version 2 and this Taktline knows up to version 1"):
                store.write([batch(verdicts(4))])


def test_bridges_that_start_at_once_do_not_collide(address: str) -> None:
    together, failures = threading.Barrier(6), list[BaseException]()

    def start(first: int) -> None:
        try:
            with newer(address) if first % 2 else open_store(address) as store:
                together.wait()
                store.tend()
                store.write([batch(verdicts(20, first))])
        except ConfigError as error:
            # The older ones may come too late, and say so.
            if "schema version" not in str(error):
                failures.append(error)
        except BaseException as error:  # noqa: BLE001 - told of below
            failures.append(error)

    threads = [threading.Thread(target=start, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    with newer(address) as store:
        store.write([batch(verdicts(26))])
        assert sequences(store) == list(range(26))


def test_a_file_that_another_bridge_is_creating_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "plant.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    # The log of a file that is locked cannot be turned on: SQLite fails at once instead of waiting.
    done = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    done.start()
    with SqliteStore(path) as store:
        assert store.write([batch(verdicts(2))]) == Written(stored=2)
    done.join()
    other.close()


def test_a_server_that_is_not_there_is_waited_for_and_one_that_refuses_is_not(postgres: Postgres) -> None:
    with open_store("postgresql://127.0.0.1:1/plant") as store, pytest.raises(StoreDown, match="takes nothing now"):
        store.positions()
    for url in (postgres.url.replace("//postgres@", "//nobody:secret@"), f"{postgres.url}2"):
        with open_store(url) as store, pytest.raises(ConfigError, match="does not exist") as caught:
            store.positions()
        assert "secret" not in str(caught.value)


def test_a_server_that_hangs_is_left_and_found_again(postgres: Postgres) -> None:
    with PostgresStore(postgres.url) as store:
        store.write([batch(verdicts(5))])
        store.patience_s = 0.3
        with postgres.frozen(), pytest.raises(StoreDown, match="takes nothing now"):
            store.write([batch(verdicts(10))])
        store.patience_s = 60
        assert store.write([batch(verdicts(10))]) in (Written(stored=5, known=5), Written(known=10))
        assert sequences(store) == list(range(10))


def test_a_full_disk_takes_nothing_and_goes_on_once_there_is_room(disk: SmallDisk) -> None:
    with SqliteStore(disk.folder / "plant.sqlite") as store:
        store.write([batch(verdicts(50), {"a": 49})])
        disk.fill()
        with pytest.raises(StoreDown, match="takes nothing now"):
            store.write([batch(verdicts(3000), {"a": 2999})])
        disk.free()
        assert store.positions() == {"test": {"a": 49}}
        assert store.write([batch(verdicts(3000), {"a": 2999})]) == Written(stored=2950, known=50)
        assert sequences(store) == list(range(3000))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("mysql://db/plant", "no store mysql://"),
        ("postgresql://db/plant?nonsense=1", "not the address of a PostgreSQL database"),
        ("sqlite:/nowhere/plant.sqlite", "no folder /nowhere"),
        ("sqlite:", "no folder"),
    ],
)
def test_what_is_no_address_of_a_store(address: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_store(address)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'taktline\[sql\]'"):
        open_store("postgresql://db/plant")


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with SqliteStore(other, steps=()) as store:
        ask(store, "CREATE TABLE mine (n)")
        ask(store, "DROP TABLE steps")
    text = tmp_path / "text.sqlite"
    text.write_text("hello, this is a text and no database at all")
    for path, message in ((other, "another program's database"), (text, "not an SQLite file")):
        with open_store(str(path)) as store, pytest.raises(ConfigError, match=message):
            store.positions()
