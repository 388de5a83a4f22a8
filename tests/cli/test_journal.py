"""The command line's way into a journal."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet
import pytest

from engines.errors import TaktlineError
from pipeline.journal.export import COLUMNS, export
from pipeline.journal.reader import JournalReader
from pipeline.journal.selection import Selection
from pipeline.protocol.verdict import Verdict
from tests.conftest import RunTaktline
from tests.pipeline.parts import PICTURE, Running, held

SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty verdicts of two cameras, a day apart; every tenth is ng."""
    path = tmp_path_factory.mktemp("journals") / "line.journal"
    publish = {"verdicts": "tcp://127.0.0.1:*"}
    with Running(publish, {"path": path, "keep_images": "ng"}, ("top", "side")) as running:
        running.publish(20, "top", captured_at=1_740_787_200 * SECOND)
        running.publish(20, "side", captured_at=1_740_873_600 * SECOND)
    return path


def verdicts(journal: Path) -> list[Verdict]:
    return [found.verdict for found in held(journal)]


def test_query_selects_and_prints(journal: Path, taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process(
        "journal", "query", journal, "--json", "--camera", "side", "--verdict", "ng", "--limit", 1
    )
    assert done.returncode == 0, done.stderr
    (found,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (found["camera"], found["sequence"], found["verdict"], found["v"]) == ("side", 10, "ng", 2)
    assert Path(found["picture"]).is_file()
    done = taktline_in_process(
        "journal", "query", journal, "--from", "2025-03-01T12:00Z", "--to", "2025-03-03T00:00+00:00"
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 20
    assert "side" in done.stdout
    assert "top" not in done.stdout


def test_verify_says_whether_it_is_whole(journal: Path, taktline_in_process: RunTaktline, tmp_path: Path) -> None:
    done = taktline_in_process("journal", "verify", journal)
    assert done.returncode == 0, done.stderr
    assert "whole" in done.stdout
    damaged = tmp_path / "line.journal"
    damaged.write_bytes(journal.read_bytes())
    done = taktline_in_process("journal", "verify", damaged, "--json")
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["faults"]) == 4
    assert "is missing" in json.loads(done.stdout)["faults"][0]


def test_csv_and_json_lines_hold_every_verdict(journal: Path, tmp_path: Path, taktline_in_process: RunTaktline) -> None:
    expected = verdicts(journal)
    done = taktline_in_process("journal", "export", journal, tmp_path / "all.csv", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdicts"] == 40
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert tuple(rows[0]) == COLUMNS
    assert [(row["camera"], int(row["sequence"]), row["verdict"]) for row in rows] == [
        (verdict.camera, verdict.sequence, verdict.verdict) for verdict in expected
    ]
    assert rows[0]["captured_at"] == "2025-03-01T00:00:00.000000+00:00"
    done = taktline_in_process("journal", "export", journal, tmp_path / "ng.jsonl", "--verdict", "ng")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "ng.jsonl").read_text().splitlines()]
    assert [{key: line[key] for key in line if key != "picture"} for line in lines] == [
        json.loads(json.dumps(verdict.to_json())) for verdict in expected if verdict.verdict == "ng"
    ]


def test_parquet_keeps_the_kinds_of_values(journal: Path, tmp_path: Path) -> None:
    with JournalReader(journal) as reader:
        assert export(reader.find(Selection()), tmp_path / "all.parquet") == 40
    table = pyarrow.parquet.read_table(tmp_path / "all.parquet")
    assert table.column_names == list(COLUMNS)
    assert str(table.schema.field("captured_at").type) == "timestamp[us, tz=UTC]"
    assert table.column("sequence").to_pylist() == [verdict.sequence for verdict in verdicts(journal)]
    assert table.column("journaled").to_pylist() == [True] * 40


def test_a_zip_holds_pictures_heatmaps_and_their_table(
    journal: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    done = taktline_in_process("journal", "export", journal, tmp_path / "ng.zip")
    assert done.returncode == 0, done.stderr
    assert "4 pictures" in done.stdout
    with zipfile.ZipFile(tmp_path / "ng.zip") as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("verdicts.csv").decode())))
        assert [(row["camera"], row["sequence"]) for row in rows] == [
            ("top", "0"), ("top", "10"), ("side", "0"), ("side", "10"),
        ]  # fmt: skip
        assert len(archive.namelist()) == 9
        for row in rows:
            image = cv2.imdecode(np.frombuffer(archive.read(row["picture"]), np.uint8), cv2.IMREAD_COLOR)
            assert image is not None
            assert image.shape == PICTURE.shape


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["query", "nowhere.journal"], "there is no journal"),
        (["query", __file__], "cannot be read as a journal"),
        (["query", "JOURNAL", "--verdict", "bad"], "there is no verdict 'bad'"),
        (["query", "JOURNAL", "--from", "yesterday"], "'yesterday' is not a date"),
        (["query", "JOURNAL", "--limit", "1" + "0" * 30], "Invalid value for '--limit'"),
        (["query", "DATABASE"], "is not a journal"),
        (["export", "JOURNAL", "out.xlsx"], "has no known ending"),
        (["export", "JOURNAL", "/proc/out.csv"], "cannot be written"),
        (["verify", "nowhere.journal"], "there is no journal"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    arguments: list[str], message: str, journal: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE parts (name)")
    given = {"JOURNAL": str(journal), "DATABASE": str(tmp_path / "other.db")}
    done = taktline_in_process("journal", *[given.get(word, word) for word in arguments])
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_a_damaged_journal_is_shown_as_far_as_it_can_be_read(
    journal: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    copy, cut = tmp_path / "line.journal", tmp_path / "cut.journal"
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE verdicts SET body = x'c1' WHERE sequence = 3 AND camera = 'top'")
        connection.commit()
    cut.write_bytes(copy.read_bytes()[:-9000] + bytes(9000))
    for command in (["query", copy], ["export", copy, tmp_path / "all.csv"]):
        done = taktline_in_process("journal", *command)
        assert done.returncode == 2
        assert "1 verdicts were skipped" in done.stderr.replace("\n", " ")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 40
    for command in (["query", cut], ["export", cut, tmp_path / "cut.csv"]):
        done = taktline_in_process("journal", *command)
        assert done.returncode == 2
        assert "taktline journal verify" in done.stderr.replace("\n", " ")
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "cut.csv").exists()


def test_a_missing_package_names_its_extra(journal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with JournalReader(journal) as reader, pytest.raises(TaktlineError, match=r"taktline\[parquet\]"):
        export(reader.find(Selection()), tmp_path / "all.parquet")
    assert not list(tmp_path.iterdir())


def test_a_label_is_set_shown_and_searched_for(journal: Path, taktline_in_process: RunTaktline, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        done = taktline_in_process("journal", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = run("label", journal, "top", "10", "false-alarm", "--by", "anna", "--note", "dust")
    assert printed.split() == ["camera", "top,", "sequence", "10:", "false", "alarm,", "by", "anna"]
    epoch = verdicts(journal)[0].epoch
    stored = json.loads(run("label", journal, "side", "3.png", "missed defect", "--part", "--by", "bert", "--json"))
    assert (stored["camera"], stored["epoch"], stored["sequence"]) == ("side", epoch, 3)
    assert (stored["label"]["label"], stored["label"]["by"]) == ("missed defect", "bert")
    shown = run("query", journal, "--label", "false alarm", "--label", "missed defect")
    assert [line.split("  ")[-1] for line in shown.splitlines()] == ["false alarm (anna)", "missed defect (bert)"]
    (found,) = [json.loads(line) for line in run("query", journal, "--label", "false_alarm", "--json").splitlines()]
    assert found["label"]["note"] == "dust"
    assert "3 pictures" in run("export", journal, tmp_path / "ng.zip", "--verdict", "ng", "--label", "none")
    with zipfile.ZipFile(tmp_path / "ng.zip") as archive:
        rows = list(csv.DictReader(io.StringIO(archive.read("verdicts.csv").decode())))
    assert [(row["camera"], row["sequence"], row["label"]) for row in rows] == [
        ("top", "0", ""), ("side", "0", ""), ("side", "10", ""),
    ]  # fmt: skip
    assert len(run("query", journal, "--part", "1*").splitlines()) == 22
    assert len(run("query", journal, "--min-score", "5").splitlines()) == 4
    assert run("query", journal, "--reason", "late") == ""
    run("label", journal, "top", "10", "none", "--epoch", epoch)
    run("label", journal, "side", "3", "none")
    assert run("query", journal, "--label", "false alarm") == ""
    assert "could be searched already" in run("index", journal)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "JOURNAL", "top", "10", "good"], "there is no label 'good'"),
        (["label", "JOURNAL", "top", "99", "confirmed"], "sequence 99 is not in the journal"),
        (["label", "JOURNAL", "nose", "1", "confirmed"], "sequence 1 is not in the journal"),
        (["label", "JOURNAL", "top", "-1", "confirmed"], "No such option"),
        (["label", "JOURNAL", "top", "1e3", "confirmed"], "'1e3' is not a sequence"),
        (["label", "JOURNAL", "top", "10", "confirmed", "--epoch", "ff"], "sequence 10 is not in the journal"),
        (["label", "JOURNAL", "top", "x.png", "confirmed", "--part"], "has no part 'x.png'"),
        (["label", "JOURNAL", "top", "1.png", "confirmed", "--part", "--epoch", "ff"], "leave it out with --part"),
        (["label", "JOURNAL", "top", "10", "confirmed", "--note", "n" * 1001], "at most 1000 bytes"),
        (["label", "nowhere.journal", "top", "10", "confirmed"], "there is no journal"),
        (["query", "JOURNAL", "--reason", "tired"], "there is no reason 'tired'"),
        (["query", "JOURNAL", "--label", "none", "--label", "confirmed"], "cannot be combined"),
        (["index", "nowhere.journal"], "there is no journal"),
    ],
)
def test_a_mistake_with_labels_and_filters_is_told_in_a_sentence(
    arguments: list[str], message: str, journal: Path, taktline_in_process: RunTaktline
) -> None:
    done = taktline_in_process("journal", *[str(journal) if word == "JOURNAL" else word for word in arguments])
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
