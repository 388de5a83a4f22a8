"""The size of the network's input is proposed by what the good parts show."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np

from calibration.dataset import Sample
from calibration.progress import silent
from calibration.size import SizeOffer, choose_size, offer_sizes
from engines.bundle import open_bundle
from tests.conftest import RunTaktline


def write_parts(folder: Path, shape: tuple[int, int], detail_px: int, count: int = 4) -> list[Sample]:
    """Writes pictures of noise whose detail is a few pixels wide."""
    folder.mkdir(parents=True)
    samples = []
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.normal(128, 40, (shape[0] // detail_px, shape[1] // detail_px)).clip(0, 255).astype(np.float32)
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC))
        samples.append(Sample(path, "good", None))
    return samples


def test_fine_detail_asks_for_a_larger_size(tmp_path: Path) -> None:
    coarse = offer_sizes(write_parts(tmp_path / "coarse", (640, 640), 40), silent)
    fine = offer_sizes(write_parts(tmp_path / "fine", (640, 640), 4), silent)
    assert [offer.size for offer in coarse] == [offer.size for offer in fine] == [(224, 224), (320, 320), (448, 448)]
    assert choose_size(coarse).size == (224, 224)
    assert choose_size(fine).size == (448, 448)
    assert all(first.lost > second.lost for first, second in itertools.pairwise(fine))


def test_sizes_have_the_parts_own_aspect(tmp_path: Path) -> None:
    offers = offer_sizes(write_parts(tmp_path / "long", (250, 620), 5), silent)
    assert [offer.name for offer in offers] == ["352x144", "496x208", "704x288"]
    # None of these pictures has more to show.
    assert offers[-1].lost == 0.0
    assert all(offer.work_ms > 0 for offer in offers)


def test_the_largest_is_taken_where_all_lose_much() -> None:
    offers = [SizeOffer((224, 224), 0.3, 1.0), SizeOffer((448, 448), 0.2, 4.0)]
    assert choose_size(offers) == offers[1]


def test_a_bundle_gets_the_size_and_says_why(tmp_path: Path, taktline_in_process: RunTaktline) -> None:
    write_parts(tmp_path / "long" / "train" / "good", (40, 100), 5, count=10)
    out = tmp_path / "bundle"
    options = ("--out", out, "--backbone", "untrained", "--steps", 1, "--size", "auto")
    done = taktline_in_process("calibrate", tmp_path / "long", *options)
    assert done.returncode == 0, done.stderr
    assert "size 352x144: the smallest that loses at most 5%" in done.stderr
    assert open_bundle(out).size == (144, 352)
