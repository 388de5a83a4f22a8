"""A bundle adapted to good parts as they look now: every engine agrees, parts keep their order, odd ones stay out."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.adapt import GoodPart, adapt, find_good_parts
from calibration.adapt_report import write_adapt_report
from engines.adaptation import Units
from engines.bundle import Bundle, open_bundle
from engines.engine import EXACT, Frames
from engines.errors import DataError, TaktlineError
from engines.image import read_image, resize_frame
from engines.registry import open_engine
from tests.conftest import RunTaktline

GAIN = 0.8


@pytest.fixture(scope="module")
def today(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn parts; the lamp has lost a fifth of its light."""
    root = tmp_path_factory.mktemp("today") / "parts"
    for path in drawn.glob("t*/*/*.png"):
        dark = root / path.relative_to(drawn)
        dark.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(dark), np.rint(read_image(path) * GAIN).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def old(small_bundle_path: Path) -> Bundle:
    return open_bundle(small_bundle_path)


@pytest.fixture(scope="module")
def goods(today: Path) -> list[GoodPart]:
    return find_good_parts(today / "train" / "good")


@pytest.fixture(scope="module")
def adapted(old: Bundle, goods: list[GoodPart], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return adapt(old, goods, tmp_path_factory.mktemp("bundles") / "new")


def frames_of(bundle: Bundle, paths: list[Path]) -> Frames:
    return np.stack([resize_frame(read_image(path), bundle.size) for path in paths])


def scores_of(bundle: Bundle, frames: Frames, engine: str = "openvino") -> np.ndarray:
    with open_engine(bundle, engine, EXACT, 16) as running:
        return np.concatenate([running.infer(frames[start : start + 16]).score for start in range(0, len(frames), 16)])


def test_good_parts_of_today_are_accepted_again_in_the_light_of_calibration(
    old: Bundle, adapted: Bundle, drawn: Path, today: Path
) -> None:
    good, bad = (sorted(today.glob(f"test/{kind}/*.png")) for kind in ("good", "[!g]*"))
    frames = frames_of(old, [*good, *bad])
    assert (scores_of(old, frames[: len(good)]) > old.manifest.threshold.value).all()
    after = scores_of(adapted, frames)
    low, high = adapted.manifest.threshold.interval_per_1000
    rejected = int((after[: len(good)] > adapted.manifest.threshold.value).sum())
    assert math.floor(low / 1000 * len(good)) <= rejected <= math.ceil(high / 1000 * len(good))
    record = adapted.manifest.adapted
    assert record is not None
    assert record.rejected_before == 1
    assert record.gains == pytest.approx((1 / GAIN,) * 3, rel=0.05)
    # What the network sees is nearly what it saw before: every part is far closer to its old score, in old units.
    once = scores_of(old, frames_of(old, [drawn / path.relative_to(today) for path in (*good, *bad)]))
    again = after * record.kept.std + record.kept.mean
    assert np.abs(again - once).mean() < np.abs(scores_of(old, frames) - once).mean() / 3


def test_without_the_light_of_calibration_units_are_measured_anew_and_parts_keep_their_order(
    old: Bundle, goods: list[GoodPart], drawn: Path, today: Path, tmp_path: Path
) -> None:
    """As of a bundle that an older Taktline calibrated, which reference pictures can tell what it does not know."""
    ignorant = dataclasses.replace(old, manifest=old.manifest.model_copy(update={"appearance": None}))
    new = adapt(ignorant, goods, tmp_path / "new")
    assert new.manifest.adapted is not None
    assert new.manifest.adapted.gains is None
    assert "look strange to the network" in new.manifest.adapted.warnings[0]
    frames = frames_of(old, sorted(today.glob("test/*/*.png")))
    before, after = scores_of(old, frames), scores_of(new, frames)
    assert (np.argsort(before) == np.argsort(after)).all()
    assert np.mean(after > new.manifest.threshold.value) < 0.5 < np.mean(before > old.manifest.threshold.value)
    told = adapt(ignorant, goods, tmp_path / "told", reference=find_good_parts(drawn / "train" / "good"))
    assert told.manifest.adapted is not None
    assert told.manifest.adapted.warnings == ()
    assert told.manifest.adapted.gains == pytest.approx((1 / GAIN,) * 3, rel=0.05)


def test_calibration_remembers_its_light(old: Bundle, drawn: Path) -> None:
    appearance = old.manifest.appearance
    assert appearance is not None
    means = [read_image(path).mean((0, 1)) for path in sorted((drawn / "train" / "good").glob("*.png"))]
    assert appearance.brightness == pytest.approx(np.mean(means, axis=0), rel=0.02)
    assert appearance.samples == 6


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_every_engine_tells_the_new_units(engine: str, adapted: Bundle, today: Path) -> None:
    frames = frames_of(adapted, sorted(today.glob("test/*/*.png"))[:16])
    with open_engine(adapted, "openvino", EXACT) as first, open_engine(adapted, engine, EXACT) as second:
        expected, found = first.infer(frames), second.infer(frames)
    assert np.abs(found.score - expected.score).max() < 0.01
    assert np.abs(found.heatmap - expected.heatmap).max() < 0.05


def test_the_manifest_says_what_it_comes_from_and_the_files_are_those_of_the_old_bundle(
    old: Bundle, adapted: Bundle
) -> None:
    manifest = adapted.manifest
    assert manifest.adapted is not None
    assert manifest.adapted.sources == (old.sha256,)
    # All but the two pictures of good parts, which are those of today.
    good = {"good.png", "good.template.png"}
    assert {name for name, digest in manifest.files.items() if digest != old.manifest.files[name]} == good
    assert manifest.looks is not None and old.manifest.looks is not None
    assert manifest.looks.samples == 30
    today, before = (looks.traits["brightness"].mean for looks in (manifest.looks, old.manifest.looks))
    assert today < before - 0.1
    assert manifest.training == old.manifest.training
    assert manifest.statistics.samples == manifest.adapted.samples == 30
    assert (manifest.threshold.value, manifest.threshold.rule) == (old.manifest.threshold.value, "sigma")
    for precision, band in manifest.bands.items():
        assert band.width >= 0.999 * old.manifest.bands[precision].width / manifest.adapted.kept.std


def test_an_adapted_bundle_can_be_adapted_again(adapted: Bundle, goods: list[GoodPart], tmp_path: Path) -> None:
    again = adapt(adapted, goods, tmp_path / "again").manifest.adapted
    first = adapted.manifest.adapted
    assert again is not None
    assert first is not None
    assert again.sources == (*first.sources, adapted.sha256)
    # The same parts in the same light lie where they lay, but for what shrinking left.
    assert again.gains == pytest.approx(first.gains, rel=0.01)
    assert again.score.mean == pytest.approx(first.score.mean, abs=0.3 * first.score.std)
    assert again.kept.mean == pytest.approx(0, abs=0.15)


def test_units_of_units() -> None:
    outer, inner = Units(mean=3.0, std=2.0), Units(mean=1.0, std=0.5)
    value = 4.7
    step = (value - outer.mean) / outer.std
    whole = inner.after(outer)
    assert (value - whole.mean) / whole.std == pytest.approx((step - inner.mean) / inner.std)


def test_defective_parts_are_left_out_and_named_and_too_many_are_refused(
    old: Bundle, goods: list[GoodPart], tmp_path: Path
) -> None:
    """What is no part at all certainly stands out."""
    picture = tmp_path / "bad.png"
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    assert cv2.imwrite(str(picture), noise)
    worst = [GoodPart(f"bad {index}", picture) for index in range(9)]
    manifest = adapt(old, [*goods, *worst[:2]], tmp_path / "new").manifest
    assert manifest.adapted is not None
    assert manifest.adapted.left_out[-2:] == ("bad 0", "bad 1")
    assert manifest.adapted.samples == 32 - len(manifest.adapted.left_out) >= 28
    page = tmp_path / "page.html"
    write_adapt_report(page, old, open_bundle(tmp_path / "new"))
    assert worst[0].name in page.read_text()
    assert page.read_text().count("<svg") == 3
    with pytest.raises(DataError, match=r"(9|1\d) of 39 pictures look defective, such as bad"):
        adapt(old, [*goods, *worst], tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_nine_parts_are_enough_with_a_warning_and_eight_are_not(
    old: Bundle, goods: list[GoodPart], tmp_path: Path
) -> None:
    manifest = adapt(old, goods[:9], tmp_path / "nine").manifest
    assert manifest.threshold.warning is not None
    assert "9 good parts only" in manifest.threshold.warning
    with pytest.raises(DataError, match="there are 8 good parts to adapt to; give 9"):
        adapt(old, goods[:8], tmp_path / "eight")
    with pytest.raises(DataError, match="is the bundle to adapt"):
        adapt(old, goods, old.path)


def test_an_old_threshold_that_was_tuned_keeps_its_distance(old: Bundle, goods: list[GoodPart], tmp_path: Path) -> None:
    tuned = old.manifest.threshold.model_copy(update={"rule": "f1", "parameter": None, "tuned_on_defects": True})
    bundle = dataclasses.replace(old, manifest=old.manifest.model_copy(update={"threshold": tuned}))
    threshold = adapt(bundle, goods, tmp_path / "new").manifest.threshold
    assert (threshold.rule, threshold.value, threshold.tuned_on_defects) == ("f1", tuned.value, True)


def test_good_parts_are_found_in_a_folder_and_in_a_data_set(today: Path, tmp_path: Path) -> None:
    assert len(find_good_parts(today / "test" / "good")) == 8
    assert len(find_good_parts(today)) == 38
    with pytest.raises(DataError, match="has no folder"):
        find_good_parts(tmp_path)


def test_it_works_on_the_command_line_and_needs_no_extra(
    small_bundle_path: Path, today: Path, tmp_path: Path, taktline_in_process: RunTaktline,
    taktline_without: RunTaktline,
) -> None:  # fmt: skip
    """The second time in a process in which every package of an extra fails to load."""
    done = taktline_in_process(
        "adapt", small_bundle_path, today / "train" / "good", "--out", tmp_path / "new", "--report", tmp_path / "a.html"
    )
    assert done.returncode == 0, done.stderr
    assert "Of 30 good parts, 100% were rejected" in done.stdout
    assert (tmp_path / "a.html").is_file()
    extras = ("torch", "torchvision", "safetensors", "onnx", "onnxscript", "sklearn", "scipy", "matplotlib", "jinja2")
    bare = taktline_without(
        extras, "adapt", small_bundle_path, today / "train" / "good",
        "--out", tmp_path / "bare", "--report", tmp_path / "b.html", "--json",
    )  # fmt: skip
    assert bare.returncode == 0, bare.stderr
    first, second = (open_bundle(tmp_path / name).manifest for name in ("new", "bare"))
    assert first.adapted is not None
    assert second.adapted is not None
    assert second.adapted.score.mean == pytest.approx(first.adapted.score.mean, abs=1e-3)
    assert second.adapted.score.std == pytest.approx(first.adapted.score.std, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give a folder of good parts, or --journal"),
        (("data", "--journal", "line.journal"), "and not both"),
        (("data", "--from", "2025-03-01"), "choose pictures of a --journal"),
        (("--journal", "line.journal"), "there is no journal"),
        (("nowhere",), "cannot be read"),
    ],
)
def test_bad_input_ends_in_a_sentence(
    words: tuple[str, ...], says: str, small_bundle_path: Path, taktline_in_process: RunTaktline
) -> None:
    done = taktline_in_process("adapt", small_bundle_path, *words, "--out", "runs/never")
    assert done.returncode == TaktlineError("").exit_code
    assert says in " ".join(done.stderr.split())
