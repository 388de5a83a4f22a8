"""Data sets as users have them, and what is said of their problems."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.dataset import find_dataset, open_dataset, open_test_split, read_mask
from calibration.survey import survey_dataset
from engines.errors import DataError
from tests.conftest import RunTaktline


def pictures(folder: Path, count: int, suffix: str = ".png", start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + count):
        noise = np.random.default_rng([index, *folder.name.encode()]).integers(0, 255, (20, 30, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{index:03d}{suffix}"), noise)


def masks(folder: Path, count: int, name: str = "{:03d}_mask.png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        mask = np.zeros((20, 30), np.uint8)
        mask[5:10, 5:10] = 1
        cv2.imwrite(str(folder / name.format(index)), mask)


def test_btad(tmp_path: Path) -> None:
    pictures(tmp_path / "train" / "ok", 12, ".bmp")
    pictures(tmp_path / "test" / "ok", 3, ".bmp", 50)
    pictures(tmp_path / "test" / "ko", 4, ".bmp")
    masks(tmp_path / "ground_truth" / "ko", 4, "{:03d}.png")
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "BTAD"
    assert [sample.kind for sample in dataset.test] == ["ko"] * 4 + ["good"] * 3
    assert all(sample.mask for sample in dataset.test[:4])


@pytest.mark.parametrize("table", ["beside", "above", None])
def test_visa(tmp_path: Path, table: str | None) -> None:
    root = tmp_path / "candle"
    pictures(root / "Data" / "Images" / "Normal", 20, ".JPG")
    pictures(root / "Data" / "Images" / "Anomaly", 5, ".JPG")
    masks(root / "Data" / "Masks" / "Anomaly", 5, "{:03d}.png")
    if table is not None:
        folder = (root if table == "beside" else tmp_path) / "split_csv"
        folder.mkdir()
        with (folder / "1cls.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["object", "split", "label", "image", "mask"])
            for index in range(20):
                split = "train" if index < 15 else "test"
                writer.writerow(["candle", split, "normal", f"candle/Data/Images/Normal/{index:03d}.JPG", ""])
            writer.writerow(["cashew", "train", "normal", "cashew/Data/Images/Normal/000.JPG", ""])
    dataset = open_dataset(root)
    assert dataset.layout == "VisA"
    assert len(dataset.train) == (16 if table is None else 15)
    assert sum(sample.defective for sample in dataset.test) == 5
    assert len(dataset.test) == (9 if table is None else 10)
    marked = next(sample for sample in dataset.test if sample.defective)
    assert read_mask(marked, (20, 30)).sum() == 25


def test_a_plain_folder_is_split_by_its_seed(tmp_path: Path) -> None:
    pictures(tmp_path / "good", 50)
    pictures(tmp_path / "bent", 3)
    pictures(tmp_path / "dirty", 2)
    first, again, other = (find_dataset(tmp_path, 0.8, seed) for seed in (0, 0, 1))
    assert first.layout == "plain"
    assert (len(first.train), len(first.test)) == (40, 15)
    assert first == again != other
    assert {sample.kind for sample in first.test} == {"good", "bent", "dirty"}
    assert not {sample.path for sample in first.train} & {sample.path for sample in first.test}
    assert len(open_test_split(tmp_path, 0.5)) == 30
    with pytest.raises(DataError, match="split"):
        open_dataset(tmp_path, 1.5)


def test_problems_are_told(tmp_path: Path) -> None:
    pictures(tmp_path / "train" / "good", 12)
    pictures(tmp_path / "test" / "good", 2, start=60)
    pictures(tmp_path / "test" / "bent", 3)
    pictures(tmp_path / "test" / "torn", 1)
    masks(tmp_path / "ground_truth" / "bent", 3)
    truth = tmp_path / "ground_truth" / "bent"
    cv2.imwrite(str(truth / "001_mask.png"), np.full((10, 10), 255, np.uint8))
    cv2.imwrite(str(truth / "002_mask.png"), np.zeros((20, 30), np.uint8))
    shutil.copy(tmp_path / "train" / "good" / "003.png", tmp_path / "test" / "good" / "copy.png")
    (tmp_path / "test" / "bent" / "notes.txt").write_text("bent by hand")
    broken = tmp_path / "train" / "good" / "011.png"
    broken.write_bytes(broken.read_bytes()[:50])
    survey = survey_dataset(open_dataset(tmp_path))
    text = "\n".join(survey.problems)
    for phrase in (
        "011.png is cut short",
        "in train and test",
        "001_mask.png is 10x10 and its picture 30x20",
        "002_mask.png is all zero",
        "notes.txt beside the pictures is not a picture",
        "'torn' has only one test picture",
        "12 good parts",
        "1 defective test parts have no mask",
    ):
        assert phrase in text
    assert len(survey.problems) == 8
    assert survey.sizes == {"30x20": 18}


def test_the_command_says_what_it_understood(drawn: Path, tmp_path: Path, taktline_in_process: RunTaktline) -> None:
    done = taktline_in_process("dataset", drawn, "--json")
    assert done.returncode == 0, done.stderr
    survey = json.loads(done.stdout)
    assert survey["layout"] == "MVTec AD"
    assert (survey["train"], survey["masks"], survey["test"]["good"]) == (30, 10, 8)
    assert survey["sizes"] == {"320x320": 48}
    done = taktline_in_process("dataset", drawn)
    assert "MVTec AD layout" in done.stdout
    assert taktline_in_process("dataset", tmp_path).returncode == 2
