"""The size of the network's input is proposed by what the good parts show."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration import size
from calibration.dataset import Sample
from calibration.progress import silent
from calibration.size import SizeOffer, choose_size, measure_size, offer_sizes
from engines.bundle import open_bundle
from engines.network import NetworkConfig
from tests.conftest import RunTaktline


def write_parts(
    folder: Path, shape: tuple[int, int], detail_px: int, count: int = 2, noise: float = 0.0
) -> list[Sample]:
    """Writes pictures whose random detail is a few pixels wide, with a sensor's noise on it."""
    folder.mkdir(parents=True)
    samples = []
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.normal(128, 40, (shape[0] // detail_px, shape[1] // detail_px)).clip(0, 255).astype(np.float32)
        path = folder / f"{number}.png"
        picture = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC) + rng.normal(0, noise, shape)
        cv2.imwrite(str(path), picture.clip(0, 255).round().astype(np.uint8))
        samples.append(Sample(path, "good", None))
    return samples


@pytest.fixture
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the tests that ask what is seen the seconds that it takes to time the backbone."""
    monkeypatch.setattr(size, "_work_ms", lambda backbone, shape: 1.0)


@pytest.mark.usefixtures("timeless")
def test_fine_detail_asks_for_a_larger_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size, "ENOUGH", 0.8)
    coarse = offer_sizes(write_parts(tmp_path / "coarse", (512, 512), 40), silent)
    fine = offer_sizes(write_parts(tmp_path / "fine", (512, 512), 2), silent)
    assert [offer.size for offer in coarse] == [offer.size for offer in fine]
    assert [offer.name for offer in fine] == ["224x224", "320x320", "448x448", "512x512"]
    assert choose_size(coarse).size == (224, 224)
    assert choose_size(fine).size == (320, 320)
    assert all(first.kept < second.kept for first, second in itertools.pairwise(fine))
    assert fine[-1].kept == 1.0


@pytest.mark.usefixtures("timeless")
@pytest.mark.parametrize("noise", [3.0, 10.0])
def test_noise_is_no_detail(tmp_path: Path, noise: float) -> None:
    """What a sensor adds to coarse parts asks for no larger size, however much it is."""
    offers = offer_sizes(write_parts(tmp_path / "noisy", (448, 448), 32, noise=noise), silent)
    assert choose_size(offers).size == (224, 224)


@pytest.mark.usefixtures("timeless")
def test_sizes_have_the_parts_own_aspect_and_no_more_pixels(tmp_path: Path) -> None:
    long = offer_sizes(write_parts(tmp_path / "long", (250, 620), 5), silent)
    assert [offer.name for offer in long] == ["352x144", "496x208", "608x240"]
    # The recipe needs its cells even where pictures are smaller.
    assert [offer.name for offer in offer_sizes(write_parts(tmp_path / "small", (120, 120), 5), silent)] == ["224x224"]


@pytest.mark.usefixtures("timeless")
def test_a_hairline_stays_to_be_seen(tmp_path: Path) -> None:
    """Whatever good parts show: defects are what they do not."""
    offers = offer_sizes(write_parts(tmp_path / "tall", (1240, 500), 60, count=1), silent)
    assert [offer.name for offer in offers] == ["144x352", "208x496", "288x704", "400x1008"]
    assert offers[0].kept > 0.9
    assert choose_size(offers).name == "288x704"


def test_the_largest_within_the_takt_is_taken_where_none_keeps_enough() -> None:
    offers = [SizeOffer((224, 224), 0.3, 10.0), SizeOffer((320, 320), 0.5, 20.0), SizeOffer((448, 448), 0.55, 40.0)]
    assert choose_size(offers) == offers[2]
    assert choose_size(offers, takt_ms=30.0) == offers[1]
    assert choose_size(offers, takt_ms=1.0) == offers[0]
    assert choose_size([*offers, SizeOffer((640, 640), 0.95, 80.0)], takt_ms=100.0).name == "640x640"


def test_a_bundle_gets_size_and_tiles_and_says_why(
    tmp_path: Path, taktline_in_process: RunTaktline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size, "ENOUGH", 1.0)
    write_parts(tmp_path / "long" / "train" / "good", (144, 384), 2, count=10)
    out = tmp_path / "bundle"
    backbone = ("--backbone", "untrained", "--backbone-arch", "resnet18")
    options = ("--out", out, *backbone, "--steps", 1, "--size", "auto", "--overlap", 64)
    done = taktline_in_process("calibrate", tmp_path / "long", *options)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "size 384x144: the smallest that keeps 100% of the good parts' fine detail" in said
    assert "detail kept" in said
    assert "seen" in said
    bundle = open_bundle(out)
    assert bundle.size == (144, 384)
    # A tile has at most 224 pixels, and shares 64 with its neighbour.
    assert (bundle.manifest.network["tiles"], bundle.manifest.network["overlap"]) == ([1, 2], 64)
    assert [offer.chosen for offer in bundle.manifest.training.sizes] == [False, True]
    assert all(offer.work_ms > 0 for offer in bundle.manifest.training.sizes)


@pytest.mark.usefixtures("timeless")
def test_a_frame_no_larger_than_the_default_is_one_tile(tmp_path: Path) -> None:
    found = measure_size(write_parts(tmp_path / "long", (144, 352), 8), NetworkConfig(), (224, 224), None, silent)
    assert (found.network.size, found.network.tiles) == ((144, 352), (1, 1))
