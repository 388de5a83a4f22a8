"""What pictures look like, measured: each change moves its own quantity by the right amount, and no other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.looks import write_looks
from engines.bundle import open_bundle
from engines.image import Image, multiply, read_image, resize_frame
from engines.look_meter import LookMeter, measure_looks, open_meter
from engines.look_words import describe
from engines.looks import QUANTITIES, Quantity
from tests.calibration.changes import moved

SIZE = (224, 224)


@pytest.fixture(scope="module")
def good(drawn: Path) -> list[Image]:
    """Drawn parts that lie alike, as a camera sees them."""
    images = [read_image(path) for path in sorted((drawn / "train" / "good").iterdir())]
    return [np.asarray(cv2.resize(image, (448, 448), interpolation=cv2.INTER_AREA), np.uint8) for image in images]


@pytest.fixture(scope="module")
def fixed(good: list[Image]) -> list[Image]:
    """One part that is never moved, under a little noise: its place is known."""
    rng = np.random.default_rng(0)
    return [np.clip(good[0] + rng.normal(0, 2, good[0].shape), 0, 255).astype(np.uint8) for _ in range(12)]


def seen(images: list[Image]) -> list[Image]:
    return [resize_frame(image, SIZE) for image in images]


CASES: list[tuple[str, dict[Quantity, str]]] = [
    ("dark", {"brightness": "darker by 18 %"}),
    ("warm", {"red": "redder by 10 %", "blue": "less blue by 10 %"}),
    ("left", {"x": "shifted by 12 px to the left"}),
    ("down", {"y": "shifted by 9.0 px to the bottom"}),
    ("turned", {"rotation": "rotated by 2.0 degrees clockwise"}),
    ("blurred", {"sharpness": ""}),
    ("none", {}),
]


def disturb(kind: str, image: Image) -> Image:
    if kind == "dark":
        return multiply(image, (0.82, 0.82, 0.82))
    if kind == "warm":
        return multiply(image, (0.9, 1.0, 1.1))
    if kind == "blurred":
        return np.asarray(cv2.GaussianBlur(image, (0, 0), 2.0), np.uint8)
    if kind == "left":
        return moved(-12 / 448, 0.0)(image, 1.0)
    if kind == "down":
        return np.asarray(np.rot90(moved(9 / 448, 0.0)(np.rot90(image), 1.0), -1))
    return moved(0.0, -2.0)(image, 1.0) if kind == "turned" else image


@pytest.mark.parametrize(("kind", "words"), CASES)
def test_it_names_what_changed_and_by_how_much(kind: str, words: dict[Quantity, str], fixed: list[Image]) -> None:
    reference = measure_looks(seen(fixed), None)
    assert reference.looks.traits.keys() == set(QUANTITIES)
    meter = LookMeter(reference.template)
    values = np.median([meter.measure(frame) for frame in seen([disturb(kind, one) for one in fixed])], axis=0)
    found: dict[Quantity, str] = {}
    for name, value in zip(QUANTITIES, values.tolist(), strict=True):
        trait = reference.looks.traits[name]
        if abs(value - trait.mean) > 4 * trait.spread:
            found[name] = describe(name, value - trait.mean, (448, 448)).words
    # Light on one channel is a little light on all, blur takes contrast, and turning a picture blurs it.
    beside: dict[str, Quantity] = {"warm": "brightness", "blurred": "contrast", "turned": "sharpness"}
    if kind in beside:
        found.pop(beside[kind], None)
    assert found.keys() == words.keys()
    for name, text in words.items():
        number = float("".join(letter for letter in (text or "0") if letter.isdigit() or letter == ".") or 0)
        told = float("".join(letter for letter in found[name] if letter.isdigit() or letter == "."))
        if text:
            assert told == pytest.approx(number, rel=0.12)
            assert "".join(found[name].split()[-1:]) == "".join(text.split()[-1:])


def test_a_larger_shift_and_turn_are_found_by_looking_again(fixed: list[Image]) -> None:
    meter = LookMeter(measure_looks(seen(fixed), None).template)
    x, y, rotation = meter.align(resize_frame(moved(0.08, -5.0)(fixed[0], 1.0), SIZE))
    assert x == pytest.approx(0.08, abs=0.01)
    assert y == pytest.approx(0.0, abs=0.01)
    assert rotation == pytest.approx(5.0, abs=0.5)


def test_parts_that_lie_anyhow_have_no_place(good: list[Image]) -> None:
    rng = np.random.default_rng(1)
    thrown = [moved(rng.uniform(-0.2, 0.2), rng.uniform(0, 360))(image, 1.0) for image in good]
    assert not measure_looks(seen(thrown), None).looks.traits.keys() & {"x", "y", "rotation"}


def test_what_is_ignored_counts_for_nothing(fixed: list[Image]) -> None:
    visible = np.ones(SIZE, np.bool_)
    visible[:, 150:] = False
    meter = LookMeter(measure_looks(seen(fixed), visible).template, visible)
    frame = resize_frame(fixed[0], SIZE)
    clamp = frame.copy()
    clamp[20:200, 151:] = np.random.default_rng(2).integers(0, 256, (180, 73, 3))
    np.testing.assert_allclose(meter.measure(clamp)[:5], meter.measure(frame)[:5], atol=1e-9)
    np.testing.assert_allclose(meter.measure(clamp)[5:], meter.measure(frame)[5:], atol=0.01)
    assert abs(LookMeter(None).measure(clamp)[0] - LookMeter(None).measure(frame)[0]) > 0.05


def test_pictures_without_contrast_are_measured_too(fixed: list[Image]) -> None:
    meter = LookMeter(measure_looks(seen(fixed), None).template)
    for level in (0, 128, 255):
        assert np.isfinite(meter.measure(np.full((*SIZE, 3), level, np.uint8))).all()


def test_a_large_network_costs_no_more(fixed: list[Image]) -> None:
    large = [np.asarray(cv2.resize(image, (640, 480)), np.uint8) for image in fixed]
    reference = measure_looks(large, np.ones((480, 640), np.bool_))
    assert max(reference.picture.shape) <= 320
    assert np.isfinite(LookMeter(reference.template, np.ones((480, 640), np.bool_)).measure(large[0])).all()


def test_a_bundle_keeps_them_and_an_older_one_opens_without(small_bundle_path: Path, tmp_path: Path) -> None:
    bundle = open_bundle(small_bundle_path)
    meter = open_meter(bundle)
    assert meter is not None
    picture = resize_frame(read_image(bundle.file("good.png")), bundle.size)
    looks = bundle.manifest.looks
    assert looks is not None and looks.samples == 30
    brightness = looks.traits["brightness"]
    assert abs(meter.measure(picture)[0] - brightness.mean) < 3 * brightness.spread
    older = tmp_path / "older"
    shutil.copytree(small_bundle_path, older)
    values = json.loads((older / "manifest.json").read_text())
    values.pop("looks")
    values["schema_version"] = 4
    for name in ("good.png", "good.template.png"):
        (older / name).unlink()
        values["files"].pop(name)
    (older / "manifest.json").write_text(json.dumps(values))
    assert open_meter(open_bundle(older)) is None


def test_few_parts_of_today_do_not_narrow_the_spread(fixed: list[Image], good: list[Image], tmp_path: Path) -> None:
    before = write_looks(tmp_path, seen(good), None)
    alone = measure_looks(seen(fixed[:9]), None).looks.traits["brightness"]
    shrunk = write_looks(tmp_path, seen(fixed[:9]), None, before).traits["brightness"]
    assert alone.spread < shrunk.spread < before.traits["brightness"].spread
    assert shrunk.mean == alone.mean
