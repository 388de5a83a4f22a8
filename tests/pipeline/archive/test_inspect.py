"""Stored pictures are inspected each exactly once, and get the verdicts that a line gives."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engines.image import read_image
from pipeline.archive.results import Results
from pipeline.config.line_file import check_config
from pipeline.line.build import build_line
from tests.conftest import RunTaktline
from tests.paths import ROOT

# One engine and precision: no second look and nothing to measure.
PLAIN = ("--engine", "openvino", "--precision", "f32")


def pictures_of(drawn: Path) -> list[Path]:
    return sorted((drawn / "test").rglob("*.png"))


def rows_of(path: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(path).to_pylist())


@pytest.mark.usefixtures("no_thread_left")
def test_the_verdicts_are_a_lines(
    small_bundle_path: Path, drawn: Path, tmp_path: Path, endpoint: str, taktline_in_process: RunTaktline
) -> None:
    """Score, verdict and regions, in the default precision with its second look, and of a part that is no picture."""
    (folder := tmp_path / "parts").mkdir()
    for number, path in enumerate(pictures_of(drawn)):
        shutil.copy(path, folder / f"{number:03d}.png")
    (folder / "099.png").write_bytes((folder / "000.png").read_bytes()[:1000])
    decision = {"rule": "score-or-region", "region_sigma": 6.0, "min_region_px": 30}
    values = {
        "line": {"name": "line"},
        "model": {"bundle": str(small_bundle_path)},
        "camera": [{"name": "files", "source": f"folder:{folder}"}],
        "decision": decision, "publish": {"verdicts": endpoint},
    }  # fmt: skip
    with build_line(check_config(values, "a test"), watched=True) as line:
        line.start()
        seen = {str(decided.verdict.part): decided.verdict.to_json() for decided in line.decided()}
    out = tmp_path / "found.jsonl"
    options = [word for name, value in decision.items() for word in (f"--{name.replace('_', '-')}", value)]
    done = taktline_in_process("inspect", folder, "--bundle", small_bundle_path, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    found = {row["part"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert found.keys() == seen.keys()
    assert {row["verdict"] for row in found.values()} == {"ok", "ng", "uninspected"}
    for part, row in found.items():
        assert (row["verdict"], row["reason"]) == (seen[part]["verdict"], seen[part]["reason"])
        if row["score"] is not None:
            # Which of them is looked at again in float32 depends on the precision that auto chose for either.
            assert row["score"] == pytest.approx(seen[part]["score"], abs=0.5)
            assert [one["x"] for one in row["regions"]] == [one["x"] for one in seen[part]["regions"]]
            assert (row["height"], row["width"]) == read_image(folder / part).shape[:2]
    assert "is cut short" in found["099.png"]["fault"]


def as_folder(pictures: list[Path], path: Path) -> Path:
    (path / "deep" / "deeper").mkdir(parents=True)
    for number, picture in enumerate(pictures):
        shutil.copy(picture, path / ("deep/deeper" if number % 2 else "") / f"{number:03d}.png")
    (path / ".hidden.png").write_bytes(b"")
    (path / "notes.txt").write_text("no picture")
    return path


def as_zip(pictures: list[Path], path: Path) -> Path:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for number, picture in enumerate(pictures):
            archive.write(picture, f"parts/{number:03d}.png")
        archive.writestr("parts/notes.txt", "no picture")
    return path.with_suffix(".zip")


def as_tar(pictures: list[Path], path: Path, kind: str = "w") -> Path:
    with tarfile.open(path.with_suffix(".tar"), kind) as archive:  # type: ignore[call-overload]
        for number, picture in enumerate(pictures):
            archive.add(picture, f"parts/{number:03d}.png")
    return path.with_suffix(".tar")


def as_table(pictures: list[Path], path: Path, nested: bool = False) -> Path:
    rows: list[dict[str, Any]] = [{"bytes": one.read_bytes(), "path": one.name} for one in pictures]
    if nested:
        rows = [{"image": row} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


STORES: dict[str, Callable[[list[Path], Path], Path]] = {
    "folder": as_folder,
    "zip": as_zip,
    "tar": as_tar,
    "tar.gz": lambda pictures, path: as_tar(pictures, path, "w:gz"),
    "tar.xz": lambda pictures, path: as_tar(pictures, path, "w:xz"),
    "table": as_table,
    "nested table": lambda pictures, path: as_table(pictures, path, nested=True),
}


def test_every_kind_of_store_gives_the_same_rows(
    small_bundle_path: Path, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    pictures = pictures_of(drawn)[:9]
    stores = [make(pictures, tmp_path / name.replace(" ", "").replace(".", "")) for name, make in STORES.items()]
    (tmp_path / "folder" / "000.png").rename(tmp_path / "folder" / os.fsdecode(b"Stra\xdfe.png"))
    uri = as_folder(pictures, tmp_path / "object store").as_uri()
    # The first two name a folder's pictures once more, and the last one is a picture of it.
    again = [tmp_path / "folder/*.png", tmp_path / "folder" / "**" / "*.png", tmp_path / "folder" / "002.png"]
    out, report = tmp_path / "found.parquet", tmp_path / "report.html"
    done = taktline_in_process(
        "inspect", *stores, uri, *again, "--bundle", small_bundle_path, "--out", out, "--report", report, "--json",
        *PLAIN,
    )
    assert done.returncode == 0, done.stderr
    summary, rows = json.loads(done.stdout), rows_of(out)
    assert summary["pictures"] == len(rows) == 9 * (len(stores) + 1)
    assert len({row["picture"] for row in rows}) == len(rows)
    by_source = {source: [row for row in rows if row["source"] == source] for source in {row["source"] for row in rows}}
    assert len(by_source) == len(stores) + 1
    first = sorted(round(row["score"], 4) for row in by_source[str(stores[0])])
    for found in by_source.values():
        assert sorted(round(row["score"], 4) for row in found) == pytest.approx(first, abs=2e-3)
    assert summary["verdicts"]["ng"] == sum(row["verdict"] == "ng" for row in rows) > 0
    page = report.read_text()
    assert page.count("data:image/jpeg;base64,") == 2 * min(60, summary["verdicts"]["ng"])
    assert "http" not in page.replace("http://www.w3.org", "")
    assert not out.with_name("found.parquet.parts").exists()


def test_the_pictures_of_a_journal(
    small_bundle_path: Path, drawn: Path, tmp_path: Path, endpoint: str, taktline_in_process: RunTaktline
) -> None:
    journal = tmp_path / "line.journal"
    values = {
        "line": {"name": "line"},
        "model": {"bundle": str(small_bundle_path)},
        "camera": [{"name": "files", "source": f"folder:{drawn / 'test' / 'good'}"}],
        "publish": {"verdicts": endpoint},
        "journal": {"path": str(journal), "keep_images": "all"},
    }
    with build_line(check_config(values, "a test"), watched=True) as line:
        line.start()
        count = len(list(line.decided()))
    out, heatmaps = tmp_path / "found.csv", tmp_path / "heatmaps"
    options = ("--save-heatmaps", heatmaps, "--heatmaps", "all", *PLAIN)
    done = taktline_in_process("inspect", journal, "--bundle", small_bundle_path, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == count
    assert {row["part"] for row in rows} == {f"files {number}" for number in range(count)}
    for row in rows:
        assert read_image(Path(row["heatmap"])).shape[:2] == (int(row["height"]), int(row["width"]))


def many(path: Path, count: int) -> Path:
    """A zip file of small pictures."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            data = cv2.imencode(".png", rng.integers(0, 255, (16, 16, 3), np.uint8))[1]
            archive.writestr(f"{number:05d}.png", data.tobytes())
    return path


def in_a_process(archive: Path, bundle: Path, out: Path) -> list[str]:
    words = ("inspect", archive, "--bundle", bundle, "--out", out, *PLAIN)
    return [sys.executable, "-m", "taktline", *map(str, words)]


def parts_of(out: Path) -> list[Path]:
    return sorted(out.with_name(f"{out.name}.parts").glob("0*.jsonl"))


def test_after_a_kill_it_goes_on_where_it_stopped(small_bundle_path: Path, tmp_path: Path) -> None:
    archive, out = many(tmp_path / "many.zip", 2600), tmp_path / "found.parquet"
    command = in_a_process(archive, small_bundle_path, out)
    for number, by in enumerate((signal.SIGKILL, signal.SIGINT), 1):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while len(parts_of(out)) < number and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(by)
        _, said = process.communicate(timeout=60)
        assert len(parts_of(out)) >= number
        assert not out.exists()
    # The second one had time to say so and to keep what it had.
    assert process.returncode == 2
    assert "was interrupted; the results of" in said
    kept = [line for part in parts_of(out) for line in part.read_text().splitlines()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(kept)} pictures were inspected before" in done.stderr
    rows = rows_of(out)
    assert sorted(row["part"] for row in rows) == [f"{number:05d}.png" for number in range(2600)]
    assert not parts_of(out)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_store_that_ends_half_way(
    kind: str, small_bundle_path: Path, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    """What was found until then is kept; with the whole store in its place, the same command goes on."""
    pictures = pictures_of(drawn)
    whole = STORES[kind](pictures, tmp_path / "whole")
    store, out = tmp_path / f"store.{kind}", tmp_path / "found.parquet"
    store.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    good = as_folder(pictures[:5], tmp_path / "good")
    command = ("inspect", good, store, "--bundle", small_bundle_path, "--out", out, *PLAIN)
    done = taktline_in_process(*command)
    assert done.returncode == 2
    assert "store." in done.stderr
    assert "the results of" in done.stderr
    kept = sum(len(part.read_text().splitlines()) for part in parts_of(out))
    assert kept >= 5
    assert not out.exists()
    shutil.copy(whole, store)
    assert taktline_in_process(*command).returncode == 0
    assert len(rows_of(out)) == 5 + len(pictures)
    assert {row["verdict"] for row in rows_of(out)} <= {"ok", "ng"}


def test_a_full_disk(small_bundle_path: Path, tmp_path: Path) -> None:
    def small_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = in_a_process(many(tmp_path / "many.zip", 1100), small_bundle_path, tmp_path / "found.parquet")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=small_disk)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "File too large; make room; nothing is kept yet" in " ".join(done.stderr.split())


def test_rows_of_another_plan_are_not_mixed(
    small_bundle_path: Path, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    out = tmp_path / "found.parquet"
    with Results(out, {"bundle": "another"}) as results:
        done = taktline_in_process("inspect", drawn, "--bundle", small_bundle_path, "--out", out, *PLAIN)
        assert done.returncode == 2
        assert "another process is writing" in done.stderr
        results.add({"picture": "one"})
        results.flush()
    done = taktline_in_process("inspect", drawn, "--bundle", small_bundle_path, "--out", out, *PLAIN)
    assert done.returncode == 2
    assert "results of another bundle or with other options" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "there is no file or folder nowhere"),
        (["{tmp}"], "has no pictures"),
        (["{tmp}/text"], "is no picture, zip, tar or Parquet file"),
        (["{tmp}/table.parquet"], "has no column of pictures"),
        (["s3://me:secret@bucket/dir?endpoint_override=127.0.0.1:1&scheme=http&region=here"], "s3://me:***@bucket/dir"),
        (["what://is/this"], "what://is/this cannot be read"),
        (["{drawn}", "--out", "{tmp}/found.xlsx"], "has no known ending"),
        (["{drawn}", "--out", "{tmp}/no/found.csv"], "there is no writable folder"),
        (["{drawn}", "--region-sigma", "3"], "--region-sigma needs --rule"),
        (["{drawn}", "--save-heatmaps", "{drawn}/heatmaps"], "lies in the source"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], says: str, small_bundle_path: Path, drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline
) -> None:
    (tmp_path / "text").write_text("no picture")
    pq.write_table(pa.table({"number": [1, 2]}), tmp_path / "table.parquet")
    given = [word.format(tmp=tmp_path, drawn=drawn) for word in words]
    out = () if "--out" in given else ("--out", tmp_path / "found.csv")
    before = sorted(tmp_path.iterdir())
    done = taktline_in_process("inspect", *given, *out, "--bundle", small_bundle_path, *PLAIN)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert "secret" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before
